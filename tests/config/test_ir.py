from __future__ import annotations

from typing import Any

import jsonpatch
import pytest

from tuning.config.ir import IR, leaves, merge_patch

RFC_7396_VECTORS: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_VECTORS)
def test_merge_patch_follows_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def test_merge_notes_the_source_of_each_leaf_it_writes() -> None:
    ir = IR.of({"a": {"x": 1, "y": 2}}, "file f").merge({"a": {"y": 3, "z": 4}}, "command line")
    assert ir.values == {"a": {"x": 1, "y": 3, "z": 4}}
    assert ir.sources == {"a.x": "file f", "a.y": "command line", "a.z": "command line"}


def test_null_takes_a_value_and_its_source_away() -> None:
    ir = IR.of({"a": {"x": 1, "y": 2}}, "file f").merge({"a": {"x": None}}, "command line")
    assert ir.values == {"a": {"y": 2}}
    assert ir.sources == {"a.y": "file f"}


def test_replacing_an_object_by_a_value_forgets_the_sources_inside_it() -> None:
    ir = IR.of({"a": {"x": {"deep": 1}}}, "file f").merge({"a": {"x": 7}}, "command line")
    assert ir.sources == {"a.x": "command line"}


def test_every_leaf_has_exactly_one_source() -> None:
    ir = IR.of({"a": {"x": 1}, "b": [1, 2], "c": {}}, "file f").merge({"a": {"x": {"y": 1}}}, "action A")
    assert [path for path, _ in leaves(ir.values)] == sorted(ir.sources)


def test_a_merge_leaves_the_first_document_as_it_was() -> None:
    first = IR.of({"a": {"x": [1]}}, "file f")
    first.merge({"a": {"x": [2]}}, "command line")
    assert first.values == {"a": {"x": [1]}}


def test_the_json_patch_between_two_documents_leads_from_one_to_the_other() -> None:
    first = IR.of({"a": {"x": 1, "gone": 2}}, "file f")
    last = first.merge({"a": {"x": 5, "gone": None}, "b": [1]}, "action A")
    assert jsonpatch.apply_patch(first.values, first.json_patch(last)) == last.values


@pytest.mark.parametrize(
    ("source", "expected"),
    [("file f", True), ("command line", True), ("environment V", True), ("action A", False), ("default", False)],
)
def test_only_people_are_users(source: str, expected: bool) -> None:
    assert IR.of({"a": {"x": 1}}, source).is_set_by_user("a.x") is expected


def test_a_part_that_the_user_set_makes_the_whole_theirs() -> None:
    ir = IR.of({"a": {"kwargs": {"inner": 1}}}, "command line")
    assert ir.is_set_by_user("a.kwargs")
    assert ir.is_set_by_user("a.kwargs.inner")
    assert not ir.is_set_by_user("a.other")
