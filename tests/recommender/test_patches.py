from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from made_up_facts import SMALL, document

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.actions import load_actions
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts
from tuning.recommender.patches import explained_patch

RFC_6902_VECTORS: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    "A.1 add a member": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux"}],
        {"baz": "qux", "foo": "bar"},
    ),
    "A.2 add an element": (
        {"foo": ["bar", "baz"]},
        [{"op": "add", "path": "/foo/1", "value": "qux"}],
        {"foo": ["bar", "qux", "baz"]},
    ),
    "A.3 remove a member": ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    "A.4 remove an element": (
        {"foo": ["bar", "qux", "baz"]},
        [{"op": "remove", "path": "/foo/1"}],
        {"foo": ["bar", "baz"]},
    ),
    "A.5 replace a value": (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    "A.6 move a value": (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    "A.7 move an element": (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    "A.8 test that holds": (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    "A.10 add a nested object": (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    "A.11 unknown members are ignored": (
        {"foo": "bar"},
        [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
        {"foo": "bar", "baz": "qux"},
    ),
    "A.14 escapes": (
        {"/": 9, "~1": 10},
        [{"op": "test", "path": "/~01", "value": 10}],
        {"/": 9, "~1": 10},
    ),
    "A.16 add an array to an array": (
        {"foo": ["bar"]},
        [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
        {"foo": ["bar", ["abc", "def"]]},
    ),
    "copy, section 4.5": (
        {"a": {"b": [1]}},
        [{"op": "copy", "from": "/a/b", "path": "/c"}],
        {"a": {"b": [1]}, "c": [1]},
    ),
}
RFC_6902_ERRORS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "A.9 test that fails": ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "bar"}]),
    "A.12 add below what is not there": ({"foo": "bar"}, [{"op": "add", "path": "/baz/bat", "value": "qux"}]),
    "A.15 text is no number": ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": "10"}]),
}


class Rate(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training.learning_rate": 2e-4}, "A good one.", Kind.MODEL_QUALITY, "a test")


class Shorter(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training.max_length": 64}, "It ends there.", Kind.COMPATIBILITY, "a page", Level.MANDATORY)


@pytest.mark.parametrize("name", RFC_6902_VECTORS)
def test_json_patches_are_applied_as_rfc_6902_says(name: str) -> None:
    document, patch, result = RFC_6902_VECTORS[name]
    assert jsonpatch.apply_patch(document, patch) == result


@pytest.mark.parametrize("name", RFC_6902_VECTORS)
def test_the_json_patch_of_two_documents_leads_from_one_to_the_other(name: str) -> None:
    document, _, result = RFC_6902_VECTORS[name]
    operations = IR(document).json_patch(IR(result))
    assert jsonpatch.apply_patch(document, operations) == result
    assert bool(operations) is (document != result)


@pytest.mark.parametrize("name", RFC_6902_ERRORS)
def test_a_json_patch_that_does_not_fit_is_an_error(name: str) -> None:
    with pytest.raises((jsonpatch.JsonPatchException, jsonpatch.JsonPointerException)):
        jsonpatch.apply_patch(*RFC_6902_ERRORS[name])


def test_every_operation_is_told_with_its_reason() -> None:
    original = document(training__max_length=4096)
    final, recommendations = RuleEngine([Rate(), Shorter()]).run(original, SMALL)
    rate, length = explained_patch(recommendations)
    why = {"action": "Rate", "level": "suggestion", "kind": "model_quality", "source": "a test"}
    change = {"op": "add", "path": "/training/learning_rate", "value": 2e-4, "comment": "A good one."}
    assert rate == change | why
    assert (length["op"], length["level"], length["source"]) == ("replace", "mandatory", "a page")
    assert jsonpatch.apply_patch(original.values, [rate, length]) == final.values


def test_the_explained_patch_of_a_whole_completion_makes_it_from_the_original() -> None:
    original = document(peft__r=8, training__output_dir="run")
    final, recommendations = RuleEngine(load_actions()).run(original, SMALL)
    operations = explained_patch(recommendations)
    assert jsonpatch.apply_patch(original.values, operations) == final.values
    assert {operation["action"] for operation in operations} <= {action.name for action in load_actions()}
    assert all(operation["comment"] and operation["source"] for operation in operations)


def test_a_document_that_is_complete_has_an_empty_patch() -> None:
    final, _ = RuleEngine([Rate()]).run(IR(), SMALL)
    assert explained_patch(RuleEngine([Rate()]).run(final, SMALL)[1]) == []
