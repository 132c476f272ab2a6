from __future__ import annotations

import json

import jsonpatch
import pytest
import yaml
from made_up_facts import SMALL, document

from tuning.config.ir import leaves
from tuning.errors import UserError
from tuning.recommender.action import Kind, Level, suggest
from tuning.recommender.completion import Completed, completed
from tuning.recommender.views import as_format, check_format, diff, diff_text, explain, explanations, report


@pytest.fixture
def found() -> Completed:
    return completed(document(training__learning_rate=0.5, model__train_from_scratch=True), SMALL)


def test_every_value_is_explained_once(found: Completed) -> None:
    explained = explanations(found)
    paths = [each["path"] for each in explained if "from" in each]
    assert paths == [path for path, _ in leaves(found.ir.values)]
    assert {each["from"] for each in explained if each["path"] == "training.learning_rate"} == {"command line"}


def test_what_a_rule_wrote_has_its_reason_and_its_inputs(found: Completed) -> None:
    filled = [each for each in explanations(found) if each.get("from", "").startswith("action ")]
    assert filled
    for each in filled:
        assert each["reason"] and each["source"] and each["inputs"], each["path"]
        assert each["from"] == f"action {each['action']}"


def test_advice_that_was_kept_out_is_explained_at_the_value(found: Completed) -> None:
    (rate,) = (each for each in explanations(found) if each["path"] == "training.learning_rate")
    assert rate["value"] == 0.5 and rate["suggested"] != 0.5
    assert "kept out by your own value" in explain([rate])


def test_the_diff_is_a_patch_that_gives_the_completed_document(found: Completed) -> None:
    operations = diff(found)
    assert jsonpatch.apply_patch(found.given.values, operations) == found.ir.values
    assert all(operation["comment"] and operation["action"] for operation in operations)


def test_the_diff_for_people_has_each_comment_once(found: Completed) -> None:
    told = diff_text(diff(found))
    assert told.count("# MixedPrecision:") == 1
    assert "add     /training/bf16 false\nadd     /training/fp16 false" in told
    assert diff_text([]) == "Nothing to fill in."


def test_json_and_yaml_hold_the_same(found: Completed) -> None:
    explained = explanations(found)
    as_json, as_yaml = (as_format(explained, "", form) for form in ("json", "yaml"))
    assert json.loads(as_json) == yaml.safe_load(as_yaml)
    assert as_format(explained, "text", "table") == "text"
    assert "&id" not in as_yaml


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UserError, match="--format: expected one of table, json, yaml; got 'xml'"):
        check_format("xml")


def test_nothing_to_fill_in_is_said(found: Completed) -> None:
    assert report(found.ir, []) == "Nothing to fill in."


def test_the_table_has_each_comment_once_and_each_value_on_a_line(found: Completed) -> None:
    values = {"training.seed": 1, "training.bf16": False}
    table = report(found.ir, [suggest(values, "Both for one reason.", Kind.MODEL_QUALITY, "a test")])
    assert table.count("Both for one reason.") == 1
    assert "training.seed = 1" in table and "training.bf16 = false" in table


@pytest.mark.parametrize("values", [{}, {"training.seed": 1}])
def test_the_table_marks_what_only_the_user_can_put_right(found: Completed, values: dict[str, int]) -> None:
    made = suggest(values, "Mend the rows.", Kind.MODEL_QUALITY, "a test", Level.USER_INTERVENTION)
    assert report(found.ir, [made]).count("Only you can put this right: Mend the rows.") == 1
