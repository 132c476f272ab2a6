"""Leave out packages that other packages import wherever they are installed, and that a run does not use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def left_out(*names: str) -> Iterator[None]:
    """Let packages look as if they were not installed; those that are imported already stay.

    What a library found then, it may remember: this is for a process that does one run.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: Python's way to say that there is none
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def does_one_run() -> bool:
    """Tell whether this process is one of our commands, which does one run and ends."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name == "tune" if spec is None else spec.name.startswith(f"{__package__}.")
