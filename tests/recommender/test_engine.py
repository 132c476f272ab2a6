from __future__ import annotations

import logging
from typing import Any

import jsonpatch
import pytest
from made_up_facts import NOTHING, SMALL, decided, document

from tuning.config.ir import IR
from tuning.errors import ConfigError, UserError
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.engine import DisagreementError, RuleEngine, recommend
from tuning.recommender.facts import Facts


class Rate(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training.learning_rate": 2e-4}, "It is a good one.", Kind.MODEL_QUALITY, "a test")


class Halved(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        rate = ir.get("training.learning_rate")
        return rate and suggest({"training.learning_rate": 1e-4}, f"Half of {rate}.", Kind.MODEL_QUALITY, "a test")


class Steps(Action):
    """Needs what `Rate` decides, and stands before it."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        if ir.get("training.learning_rate") is None:
            return None
        return suggest({"training.warmup_steps": 3}, "There is a rate.", Kind.MODEL_QUALITY, "a test")


class Flip(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        value = not ir.get("training.packing", False)
        return suggest({"training.packing": value}, "The other way.", Kind.MODEL_QUALITY, "a test")


class Warn(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({}, "Look at this.", Kind.COMPATIBILITY, "a test", Level.USER_INTERVENTION)


class Remove(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training.fp16": None}, "It is of no use.", Kind.COMPATIBILITY, "a test")


class Whole(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training": 1}, "In place of the section.", Kind.COMPATIBILITY, "a test")


class Shorter(Action):
    """Says that a run with more than 64 tokens would crash."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        if ir.get("training.max_length", 0) <= 64:
            return None
        return suggest({"training.max_length": 64}, "It ends there.", Kind.COMPATIBILITY, "a test", Level.MANDATORY)


class Longer(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation:
        return suggest({"training.max_length": 96}, "It is a good one.", Kind.MODEL_QUALITY, "a test")


class AtLeast(Action):
    """Says that a run with less than 128 tokens would crash, and so disagrees with `Shorter`."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        if ir.get("training.max_length", 128) >= 128:
            return None
        return suggest({"training.max_length": 128}, "It is needed.", Kind.COMPATIBILITY, "a test", Level.MANDATORY)


class NoSeed(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        if ir.get("training.seed") is None:
            return None
        return suggest({"training.seed": None}, "There is none.", Kind.COMPATIBILITY, "a test", Level.MANDATORY)


class WarnOfNoRate(Action):
    """Warns of what is put right later in the same run."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        if ir.get("training.learning_rate") is not None:
            return None
        return suggest({}, "There is no rate.", Kind.COMPATIBILITY, "a test", Level.USER_INTERVENTION)


def patched(original: IR, recommendations: list[Recommendation]) -> dict[str, Any]:
    values = dict(original.values)
    for made in recommendations:
        values = jsonpatch.apply_patch(values, list(made.json_patch))
    return values


def test_a_value_that_is_missing_is_filled_in_with_the_action_as_its_source() -> None:
    final, (made,) = RuleEngine([Rate()]).run(IR(), NOTHING)
    assert final.get("training.learning_rate") == 2e-4
    assert final.sources == {"training.learning_rate": "action Rate"}
    assert (made.action, made.patch) == ("Rate", {"training": {"learning_rate": 2e-4}})


def test_a_value_of_the_user_stays_and_the_suggestion_is_kept_as_advice() -> None:
    original = document(training__learning_rate=3e-4)
    final, (made,) = RuleEngine([Rate()]).run(original, NOTHING)
    assert final == original
    assert made.patch == {}
    assert made.json_patch == ()
    assert "user 0.0003, suggested 0.0002, because: It is a good one." in str(made.declined[0])


def test_agreeing_with_the_user_is_not_worth_a_word() -> None:
    final, recommendations = RuleEngine([Rate()]).run(document(training__learning_rate=2e-4), NOTHING)
    assert recommendations == []
    assert final.sources["training.learning_rate"] == "command line"


def test_an_action_may_refine_what_another_action_wrote() -> None:
    final, (made,) = RuleEngine([Rate(), Halved()]).run(IR(), NOTHING)
    assert final.get("training.learning_rate") == 1e-4
    assert made.action == "Halved"


def test_passes_go_on_until_an_early_action_has_seen_what_a_late_one_wrote() -> None:
    final, recommendations = RuleEngine([Steps(), Rate()]).run(IR(), NOTHING)
    assert final.get("training.warmup_steps") == 3
    assert [made.action for made in recommendations] == ["Steps", "Rate"]


def test_actions_that_undo_each_other_are_named() -> None:
    with pytest.raises(DisagreementError, match=r"Flip do not settle training.packing after 20 passes"):
        RuleEngine([Rate(), Flip()]).run(IR(), NOTHING)


def test_a_null_removes_what_is_not_the_users() -> None:
    original = decided(training__fp16=True, training__seed=1)
    final, (made,) = RuleEngine([Remove()]).run(original, NOTHING)
    assert final.values == {"training": {"seed": 1}}
    assert patched(original, [made]) == final.values


def test_a_null_does_not_remove_what_is_the_users() -> None:
    original = document(training__fp16=True)
    assert RuleEngine([Remove()]).run(original, NOTHING)[0] == original


def test_a_whole_section_with_one_value_of_the_users_is_not_replaced() -> None:
    original = document(training__fp16=True)
    assert RuleEngine([Whole()]).run(original, NOTHING)[0] == original


def test_a_value_of_the_users_that_stands_where_a_section_should_is_left_for_the_check() -> None:
    original = document(training="fast")
    assert RuleEngine([Rate()]).run(original, NOTHING)[0] == original


def test_a_warning_without_values_is_kept() -> None:
    final, (made,) = RuleEngine([Warn()]).run(IR(), NOTHING)
    assert final == IR()
    assert (made.action, made.level) == ("Warn", Level.USER_INTERVENTION)


def test_a_value_that_the_run_would_crash_with_is_replaced_and_told_of() -> None:
    original = document(training__max_length=4096)
    final, (made,) = RuleEngine([Shorter()]).run(original, NOTHING)
    assert (final.get("training.max_length"), final.sources["training.max_length"]) == (64, "override Shorter")
    assert made.declined == ()
    assert str(made.overridden[0]) == (
        "training.max_length: user 4096 (from command line), replaced by 64, or the run would crash: It ends there."
    )
    assert made.to_dict()["overridden"][0]["user"] == 4096
    assert patched(original, [made]) == final.values


def test_what_would_crash_without_being_the_users_is_filled_in_like_any_value() -> None:
    final, (made,) = RuleEngine([Longer(), Shorter()]).run(IR(), NOTHING)
    assert final.sources["training.max_length"] == "action Shorter"
    assert made.overridden == ()


def test_a_replaced_value_is_left_alone_by_every_other_action_then_and_later() -> None:
    final, recommendations = RuleEngine([Longer(), Shorter()]).run(document(training__max_length=4096), NOTHING)
    assert final.get("training.max_length") == 64
    assert [made.action for made in recommendations] == ["Shorter"]
    assert RuleEngine([Longer(), Shorter()]).run(final, NOTHING)[0] == final


def test_a_value_that_would_crash_can_be_taken_out() -> None:
    original = document(training__seed=1, training__max_length=8)
    final, (made,) = RuleEngine([NoSeed()]).run(original, NOTHING)
    assert final.values == {"training": {"max_length": 8}}
    assert "user 1 (from command line), taken out" in str(made.overridden[0])
    assert patched(original, [made]) == final.values


def test_only_a_mandatory_recommendation_replaces_what_is_the_users() -> None:
    assert RuleEngine([Longer()]).run(document(training__max_length=8), NOTHING)[0].get("training.max_length") == 8


def test_nothing_is_replaced_that_a_later_value_mends() -> None:
    class NoRate(Action):
        def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
            if ir.get("training.learning_rate") is not None:
                return None
            return suggest({"training.seed": 7}, "No rate.", Kind.COMPATIBILITY, "a test", Level.MANDATORY)

    final, _ = RuleEngine([NoRate(), Rate()]).run(document(training__seed=1), NOTHING)
    assert final.get("training.seed") == 1


def test_what_would_crash_is_an_error_under_strict_that_names_all_of_it() -> None:
    original = document(training__max_length=4096, training__seed=1, recommender__strict=True)
    with pytest.raises(ConfigError) as caught:
        RuleEngine([Shorter(), NoSeed()]).run(original, NOTHING)
    assert str(caught.value).splitlines() == [
        "training.max_length: got 4096 (from command line); the run would crash: It ends there. "
        "Set it to 64, or set recommender.strict=false to have that done.",
        "training.seed: got 1 (from command line); the run would crash: There is none. "
        "Leave it out, or set recommender.strict=false to have that done.",
    ]


def test_strict_refuses_nothing_that_runs() -> None:
    original = document(training__max_length=64, recommender__strict=True)
    assert RuleEngine([Longer(), Shorter()]).run(original, NOTHING)[0] == original


def test_actions_that_replace_each_others_replacement_are_named() -> None:
    with pytest.raises(DisagreementError, match=r"Shorter and AtLeast do not settle training.max_length"):
        RuleEngine([Shorter(), AtLeast()]).run(document(training__max_length=4096), NOTHING)


def test_a_warning_that_no_longer_holds_at_the_end_is_not_given() -> None:
    _, recommendations = RuleEngine([WarnOfNoRate(), Rate()]).run(IR(), NOTHING)
    assert [made.action for made in recommendations] == ["Rate"]


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="2 rules are called Rate"):
        RuleEngine([Rate(), Steps(), Rate()])


def test_two_engines_share_nothing() -> None:
    first, second = RuleEngine([Rate()]), RuleEngine([Steps()])
    alone = RuleEngine([Steps()]).run(IR(), NOTHING)
    first.run(document(training__seed=1), NOTHING)
    assert second.run(IR(), NOTHING) == alone
    assert first.names() == ["Rate"]


def test_a_document_that_wants_no_recommendations_comes_back_as_it_is() -> None:
    original = document(recommender__recommend=False)
    assert recommend(original, SMALL) == (original, [])


def test_the_library_call_takes_actions_of_its_own() -> None:
    final, recommendations = recommend(IR(), NOTHING, [Rate()])
    assert (final.get("training.learning_rate"), len(recommendations)) == (2e-4, 1)


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("3", 0)])
def test_each_filled_value_is_logged_once_by_rank_zero(
    rank: str, lines: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    with caplog.at_level(logging.INFO, "tuning.recommender.engine"):
        recommend(IR(), NOTHING, [Rate()])
    assert [record.getMessage() for record in caplog.records] == [
        "training.learning_rate = 0.0002 (Rate: It is a good one.)"
    ] * lines


def test_a_replaced_value_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    recommend(document(training__max_length=4096), NOTHING, [Shorter()])
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "user 4096 (from command line), replaced by 64" in record.getMessage()


def test_a_recommendation_as_json_is_plain() -> None:
    _, (made,) = RuleEngine([Rate()]).run(document(training__learning_rate=3e-4), NOTHING)
    told = made.to_dict()
    assert told["level"] == "suggestion"
    assert told["kind"] == "model_quality"
    assert told["declined"][0]["user"] == 3e-4
    assert type(told["level"]) is str


def test_the_base_action_skips() -> None:
    assert Action().apply(IR(), SMALL) is None
    assert Action().name == "Action"
