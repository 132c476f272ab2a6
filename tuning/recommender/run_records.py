"""Read the record of a finished run from its folder, whatever that folder may hold.

A run folder is data from somewhere: it may be torn, foreign or made to harm. Sizes are bounded, only plain files are
opened, and what is not as a run writes it is a `NotARunError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG_FILE = "config.json"
EVENTS_FILE = Path("tracking") / "events.jsonl"
_MOST_CONFIG_BYTES, _MOST_LINE_BYTES, _MOST_EVENT_BYTES = 1 << 22, 1 << 20, 1 << 28
_MOST_NAME_CHARACTERS = 60
_WANTED = (b'"type":"run"', b'"type":"state"', b'"type":"params"', b"eval_loss", b"eval/loss")
"""What stands in the lines that are worth parsing: a long run has a line for every step."""


class NotARunError(Exception):
    """A folder that holds no finished run as this package writes it; says why."""


@dataclass
class RunRecord:
    """What a run's folder tells: the configuration's values, the recorded params by name, and how it ended."""

    values: Mapping[str, Any]
    params: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str = ""
    run_id: str = ""
    state: str | None = None
    eval_loss: float | None = None
    """Of the final model; where that was not measured, of the last evaluation."""


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run that ended well.

    Raises:
        NotARunError: there is none in the folder, or it cannot be read.
    """
    record = RunRecord(_values(folder / CONFIG_FILE))
    for event in _events(folder / EVENTS_FILE):
        _take(record, event)
    if record.state != "finished":
        raise NotARunError(f"its state is {record.state or 'unknown'}, not finished")
    return record


def section(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an inner object; an empty one where there is none."""
    inner = node.get(key)
    return inner if isinstance(inner, Mapping) else {}


def printable(text: str) -> str:
    """Keep what can be shown of a name that somebody else wrote."""
    return "".join(character for character in text if character.isprintable())[:_MOST_NAME_CHARACTERS]


def _values(file: Path) -> Mapping[str, Any]:
    try:
        if not file.is_file() or file.stat().st_size > _MOST_CONFIG_BYTES:
            raise NotARunError(f"it has no {file.name} of a run")
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotARunError(f"its {file.name} cannot be read") from error
    values = document.get("values") if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise NotARunError(f"its {file.name} is not that of a run")
    return values


def _events(file: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records that matter; a line that was cut short is passed over, as everywhere."""
    try:
        if not file.is_file() or file.stat().st_size > _MOST_EVENT_BYTES:
            raise NotARunError(f"it has no {file.name}, or one that is too long")
        with file.open("rb") as stream:
            while line := stream.readline(_MOST_LINE_BYTES):
                if any(wanted in line for wanted in _WANTED) and (event := _parse(line)) is not None:
                    yield event
    except OSError as error:
        raise NotARunError(f"its {file.name} cannot be read") from error


def _parse(line: bytes) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _take(record: RunRecord, event: Mapping[str, Any]) -> None:
    kind, values = event.get("type"), section(event, "values")
    if kind == "run":
        record.state = None  # a new attempt
        record.name = record.name or printable(str(event.get("name", "")))
        record.run_id = record.run_id or printable(str(event.get("run_id", "")))
    elif kind == "state":
        record.state = printable(str(event.get("state")))
    elif kind == "params":
        record.params.setdefault(str(event.get("name")), values)
    elif kind == "metrics":
        for name in ("eval/loss", "final/eval_loss"):
            loss = values.get(name)
            if isinstance(loss, (int, float)) and not isinstance(loss, bool):
                record.eval_loss = loss
