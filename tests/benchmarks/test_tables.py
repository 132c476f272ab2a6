from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables import circumstances, replace_between_marks, table


def test_a_table_has_one_line_for_each_row() -> None:
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin one -->\nold\n<!-- end one -->\nafter\n")
    replace_between_marks(page, "one", "new")
    replace_between_marks(page, "one", "newest")
    assert page.read_text() == "before\n<!-- begin one -->\n\nnewest\n\n<!-- end one -->\nafter\n"


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin one -->\n")
    with pytest.raises(ValueError, match="no marks for 'one'"):
        replace_between_marks(page, "one", "new")
    assert page.read_text() == "before\n<!-- begin one -->\n"


def test_a_measurement_says_when_and_with_what() -> None:
    assert "`make x`" in circumstances("make x") and "transformers" in circumstances("make x")


def test_the_page_has_the_marks_of_both_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    for name in ("faults", "tracking"):
        assert f"<!-- begin {name} -->\n" in page and f"<!-- end {name} -->" in page


def test_every_fault_that_was_measured_ended_as_promised() -> None:
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    _, _, rest = page.partition("<!-- begin faults -->\n")
    rows = [line for line in rest.partition("<!-- end faults -->")[0].splitlines() if line.startswith("| ")]
    assert len(rows) > 50
    assert [row for row in rows if "**" in row] == []
