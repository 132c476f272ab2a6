from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.tables import replace_between_marks
from benchmarks.tracking import CASES, HEADER, content, measure, middle, problems, row
from benchmarks.tracking_case import ALL_OURS, Cost

CHEAP = Cost("no-op", 10, 0.01, 0.02, 0.03, 0.04, 1.0, 0.1, 500.0)
COSTS = {name: replace(CHEAP, name=name) for name in CASES}


def test_every_way_has_its_vendor_beside_it() -> None:
    costs = COSTS | {"AimCallback": replace(CHEAP, name="AimCallback", median_ms=1.0)}
    assert row(costs["ours: Aim"], costs)[3] == "100" and row(costs["no-op"], costs)[3] == ""
    assert {len(row(cost, costs)) for cost in costs.values()} == {len(HEADER)}


def test_cheap_tracking_meets_every_target() -> None:
    assert problems(COSTS) == [] and "Every target is met" in content(COSTS, 1)


@pytest.mark.parametrize(
    ("name", "change"),
    [("ours: W&B", {"median_ms": 0.2}), ("ours: Aim", {"median_computing_ms": 0.6}), (ALL_OURS, {"peak_mib": 530.0})],
)
def test_a_missed_target_is_named(name: str, change: dict[str, float]) -> None:
    costs = COSTS | {name: replace(COSTS[name], **change)}
    assert len(problems(costs)) == 1 and problems(costs)[0].startswith(name)


def test_what_a_vendor_costs_is_no_target_of_ours() -> None:
    assert problems(COSTS | {"MLflowCallback": replace(CHEAP, median_ms=99.0, peak_mib=9999.0)}) == []


def test_the_middle_of_several_counts() -> None:
    assert middle([replace(CHEAP, median_ms=ms) for ms in (3.0, 1.0, 2.0)]).median_ms == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [ALL_OURS, "AimCallback"])
def test_a_short_measurement_finds_what_tracking_costs(tmp_path: Path, name: str) -> None:
    cost = measure(name, tmp_path / "case", 3)
    assert cost.name == name and cost.num_steps == 3
    assert cost.median_ms > 0 and cost.peak_mib > 50


def test_the_page_gets_a_line_for_every_way(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin tracking -->\n<!-- end tracking -->\n")
    replace_between_marks(page, "tracking", content(COSTS, 1))
    lines = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")][2:]
    assert [line[0].removeprefix("| ") for line in lines] == list(CASES)
