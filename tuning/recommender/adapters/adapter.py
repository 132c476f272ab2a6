"""What another program's configuration becomes here, what ours becomes there, and what neither can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Recommendation


@dataclass(frozen=True)
class Unmapped:
    """One setting that is lost on the way: its key in the document that it comes from, its value, and why."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"key": self.key, "value": self.value, "why": self.why}


@dataclass(frozen=True)
class Imported:
    """A document of another program as ours; each value has the file that it was read from as its source."""

    ir: IR
    unmapped: tuple[Unmapped, ...] = ()


@dataclass(frozen=True)
class Exported:
    """A document of ours as files of another program.

    `files` maps the name of each file to its text, or to the document that it holds, which `render` writes down.
    `launch_command` holds the words of the command that starts the run in the folder of the files.
    """

    files: Mapping[str, Mapping[str, Any] | str]
    launch_command: list[str] = field(default_factory=list)
    unmapped: tuple[Unmapped, ...] = ()


class Adapter:
    """A format that a run can be written in; this one knows no setting. It holds no state."""

    name = "none"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether a document looks as if it were written for this program."""
        return False

    def read(self, document: Mapping[str, Any], source: str) -> Imported:
        """Make our document of theirs. What they leave out stays undecided, unless their default differs in kind.

        Raises:
            ConfigError: values that neither program could use; every one of them, with its key and `source`.
        """
        return Imported(IR(), tuple(Unmapped(str(key), value, "is not known here") for key, value in document.items()))

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Make their files of our document; `recommendations` are the reasons, where a format has room for them."""
        unmapped = (Unmapped(key, value, "has no place there") for key, value in ir.values.items())
        return Exported({}, [], tuple(unmapped))
