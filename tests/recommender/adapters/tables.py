"""The tables of docs/adapters.md, made of the adapters' own; run it to write them into the page anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tuning.recommender.adapters import ADAPTERS
from tuning.recommender.adapters.fms import NOT_WRITTEN
from tuning.recommender.adapters.fms_tuning import NOT_READ, ROWS
from tuning.recommender.adapters.mapping import Row
from tuning.recommender.adapters.table_adapter import TableAdapter

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adapters.md"
NAMES = ("accelerate", "trl", "llamafactory", "axolotl", "torchtune")


def tables() -> dict[str, str]:
    """Map the name of each block of the page to what stands in it."""
    blocks = {"fms settings": _settings(ROWS), "fms lost": _lost(NOT_READ, NOT_WRITTEN)}
    for name in NAMES:
        adapter = ADAPTERS.load(name)
        assert issubclass(adapter, TableAdapter)
        blocks[f"{name} settings"] = _settings(adapter.rows)
        blocks[f"{name} lost"] = _lost(adapter.not_read, adapter.not_written)
    return blocks


def block(name: str, content: str) -> str:
    return f"<!-- {name} -->\n{content}\n<!-- end -->"


def _settings(rows: Iterable[Row]) -> str:
    renamed = [row for row in rows if row.key != row.path.rpartition(".")[2]]
    lines = [f"| `{row.key}` | `{row.path}` | {row.note} |" for row in renamed]
    return "\n".join(["| key there | field here | |", "|---|---|---|", *lines])


def _lost(read: Mapping[str, str], written: Mapping[str, str]) -> str:
    return "\n".join(["| not mapped | why |", "|---|---|", *_reasons("from", read), *_reasons("to", written)])


def _reasons(way: str, reasons: Mapping[str, str]) -> Iterator[str]:
    return (f"| {way}: `{key}` | {why} |" for key, why in reasons.items())


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for name, content in tables().items():
        start, end = page.index(f"<!-- {name} -->"), page.index("<!-- end -->", page.index(f"<!-- {name} -->"))
        page = page[:start] + block(name, content) + page[end + len("<!-- end -->") :]
    PAGE.write_text(page, encoding="utf-8")
