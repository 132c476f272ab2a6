from __future__ import annotations

from tuning.doctor.finding import Finding, has_fault, table

FINE, ODD = Finding("Python", "ok", "3.12.1"), Finding("a server", "warning", "does not answer", "Start it.")
WRONG = Finding("masks", "fault", "2 of 8 rows", "See `tune preview`.", difference=2)


def test_only_a_fault_is_a_fault() -> None:
    assert not has_fault([FINE, ODD, Finding("extra wandb", "skipped", "not installed")])
    assert has_fault([FINE, WRONG])


def test_the_table_has_a_line_for_each_finding_and_one_for_what_to_do() -> None:
    lines = table([FINE, ODD, WRONG], 80).splitlines()
    assert lines[0].split() == ["Python", "ok", "3.12.1"]
    assert lines[2].strip() == "-> Start it."
    assert lines[-1] == "3 checks: 1 fault, 1 warning."


def test_long_texts_are_wrapped_to_the_width() -> None:
    shown = table([Finding("packing", "warning", "word " * 60, "hint " * 60)], 80)
    assert max(map(len, shown.splitlines())) <= 80


def test_problems_of_several_lines_keep_them() -> None:
    shown = table([Finding("configuration", "fault", "first: wrong\nsecond: wrong, too")], 80)
    assert [line.split()[-2:] for line in shown.splitlines()[:2]] == [["first:", "wrong"], ["wrong,", "too"]]


def test_a_finding_is_plain_json_with_its_difference() -> None:
    assert WRONG.to_dict()["difference"] == 2
    assert FINE.to_dict()["hint"] == ""
