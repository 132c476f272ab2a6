from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tuning.launch.ranks import Ranks


def ranks_that_left(folder: Path, **codes: int | None) -> Ranks:
    """Leave the codes of ranks `r0`, `r1` …, in this order; None: it died without a word."""
    ranks = Ranks(folder, count=2)
    for order, (name, code) in enumerate(codes.items()):
        ranks.leave_id(int(name[1:]))
        if code is not None:
            ranks.leave_code(int(name[1:]), code)
            os.utime(folder / f"rank-{name[1:]}.code", ns=(order, order))
    return ranks


@pytest.mark.parametrize(
    ("codes", "code", "cause"),
    [
        ({"r0": 1, "r1": 75}, 1, "rank 0 ended with exit code 1"),
        ({"r1": 203, "r0": 75}, 203, "rank 1 ended with exit code 203"),
        ({"r0": 75, "r1": 75}, 75, "rank 0 ended with exit code 75"),
        ({"r0": 75, "r1": None}, 203, "rank 1 died"),
        ({"r0": 203, "r1": None}, 203, "rank 1 died"),
        ({"r0": 1, "r1": None}, 1, "rank 0 ended with exit code 1"),
        ({"r0": None, "r1": None}, 203, "rank 0, 1 died"),
        ({}, 203, "the launcher ended with exit code 1 and started nothing"),
    ],
)
def test_a_launcher_s_failure_is_the_first_failure_of_its_processes(
    codes: dict[str, int | None], code: int, cause: str, tmp_path: Path
) -> None:
    ending = ranks_that_left(tmp_path, **codes).ending(launcher_code=1, was_stopped=False)
    assert (ending.code, ending.cause) == (code, cause)


def test_a_stop_that_was_passed_on_ends_with_75_even_where_nobody_could_say_so(tmp_path: Path) -> None:
    assert ranks_that_left(tmp_path, r0=None, r1=None).ending(launcher_code=1, was_stopped=True).code == 75


@pytest.mark.parametrize(("codes", "code"), [({"r0": 0, "r1": 0}, 0), ({"r0": 75, "r1": 75}, 75)])
def test_what_the_launcher_takes_for_a_success_may_be_a_stop(codes: dict[str, int], code: int, tmp_path: Path) -> None:
    assert ranks_that_left(tmp_path, **codes).ending(launcher_code=0, was_stopped=False).code == code


def test_the_others_wait_for_the_first_to_end_but_not_for_ever(tmp_path: Path) -> None:
    ranks = ranks_that_left(tmp_path, r1=1)
    ranks.await_first(seconds=0.01)
    ranks.leave_code(0, 1)
    ranks.await_first(seconds=3600)


def test_a_fault_while_stopping_is_told_as_one(tmp_path: Path) -> None:
    assert ranks_that_left(tmp_path, r0=203, r1=75).ending(launcher_code=1, was_stopped=True).code == 203


@pytest.mark.parametrize(("code", "was_told"), [(1, True), (203, False)])
def test_what_the_first_process_told_is_not_told_again_unless_another_one_is_the_cause(
    code: int, was_told: bool, tmp_path: Path
) -> None:
    ending = ranks_that_left(tmp_path, r1=code, r0=code).ending(launcher_code=1, was_stopped=False)
    assert ending.was_told == was_told


def test_a_launcher_that_hangs_or_dies_after_a_good_run_spoils_nothing(tmp_path: Path) -> None:
    assert ranks_that_left(tmp_path, r0=0, r1=0).ending(launcher_code=-9, was_stopped=False).code == 0


def test_a_process_id_that_is_another_s_by_now_is_none_of_the_run(tmp_path: Path) -> None:
    assert ranks_that_left(tmp_path, r0=None).running() == {}


def test_ranks_wait_as_long_as_somebody_watches_them(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, count=1)
    waiting = threading.Thread(target=ranks.await_nobody_watching, daemon=True)
    with ranks.watched():
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
