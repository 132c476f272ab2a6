from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tuning.doctor.finding import Finding
from tuning.doctor.packages import Extra, extra_findings, import_problem, package_findings, python_finding


def extra(name: str, *requirements: str) -> Extra:
    return Extra(name, [Requirement(text) for text in requirements])


def found(extras: Extra, *asked: str) -> Finding:
    (one,) = extra_findings([extras], asked)
    return one


def test_packages_in_their_ranges_are_one_line() -> None:
    (one,) = package_findings([Requirement("pytest>=8"), Requirement("numpy>=1")])
    assert (one.state, one.told) == ("ok", "2 packages in the versions that are asked for")


@pytest.mark.parametrize(
    ("requirement", "told"),
    [
        ("pytest>=900", r"pytest \S+ is installed, and >=900 is asked for"),
        ("no-such-pkg", "no-such-pkg is not installed"),
    ],
)
def test_a_package_that_is_not_right_is_told_with_the_command_that_mends_it(requirement: str, told: str) -> None:
    (one,) = package_findings([Requirement(requirement)])
    assert one.state == "fault" and re.fullmatch(told, one.told)
    assert one.hint == f"pip install '{requirement}'"


def test_nothing_is_said_of_ranges_that_are_not_known() -> None:
    (one,) = package_findings([])
    assert one.state == "skipped"


def test_a_python_that_is_too_old_is_a_fault() -> None:
    assert python_finding(">=3.10").state == "ok"
    assert python_finding(">=99").state == "fault"


def test_an_extra_that_is_missing_matters_only_where_it_is_asked_for() -> None:
    missing = extra("mine", "no-such-package>=1")
    assert found(missing).state == "skipped"
    asked = found(missing, "mine")
    assert (asked.state, asked.hint) == ("fault", "pip install 'tuning[mine]'")


def test_extras_that_a_run_does_not_ask_for_are_not_looked_at() -> None:
    assert list(extra_findings([extra("mine", "pytest")], ["other"])) == []


def test_an_extra_of_the_wrong_version_is_told() -> None:
    assert found(extra("mine", "pytest>=900")).state == "warning"
    assert found(extra("mine", "pytest>=900"), "mine").state == "fault"


def test_an_extra_that_is_there_tells_its_version() -> None:
    assert found(extra("mine", "packaging>=1")).told.startswith("packaging ")


def test_a_module_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('no library libfoo')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_problem("broken_module") == "RuntimeError: no library libfoo"
    assert import_problem("json") is None
