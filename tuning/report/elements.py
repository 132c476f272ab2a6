"""Small pieces of HTML; every text that comes from a file is escaped here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tuning.report.scale import number_text

_LONGEST_CELL = 600


def cell_text(value: Any) -> str:
    """Write a plain value for a cell: numbers short, nothing as a dash, objects as JSON."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], style: str = "") -> str:
    """Lay rows out below a head; an empty text where there are none. Each cell tells its column, for narrow pages."""
    body = "".join(f"<tr>{_cells(head, row)}</tr>" for row in rows)
    if not body:
        return ""
    columns = "".join(f"<th scope='col'>{escape(name)}</th>" for name in head)
    return f'<table class="{escape(style)}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'


def pairs(items: Iterable[tuple[str, Any]]) -> str:
    """Lay names and values out as a list; a value that is not there is left out."""
    shown = [(name, value) for name, value in items if value not in (None, "", [], {})]
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(cell_text(value))}</dd>" for name, value in shown)
    return f"<dl>{inner}</dl>" if inner else ""


def section(name: str, title: str, *parts: str) -> str:
    """Put parts below a heading; an empty text where all of them are empty."""
    body = "".join(parts)
    return f'<section id="{name}" class="card"><h2>{escape(title)}</h2>{body}</section>' if body else ""


def folded(title: str, body: str) -> str:
    """Hide a part behind its title until somebody asks for it."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def paragraph(text: str, style: str = "") -> str:
    """Write a sentence."""
    return f'<p class="{escape(style)}">{escape(text)}</p>'


def duration_text(seconds: float | None) -> str:
    """Write a duration by its two largest units."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def time_text(seconds: float | None) -> str:
    """Write a moment in this machine's time zone."""
    return "-" if not seconds else time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def mapping(value: Any) -> Mapping[str, Any]:
    """Take what should be an object; anything else, from a file that something damaged, counts as an empty one."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Take the objects of what should be a list of them."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _cells(head: Sequence[str], row: Sequence[Any]) -> str:
    return "".join(
        f'<td data-column="{escape(name)}" class="{_kind(value)}">{escape(cell_text(value))}</td>'
        for name, value in zip(head, row, strict=True)
    )


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else "text"
