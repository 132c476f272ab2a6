"""What the loss falls on: the answers, wherever it can be told where they start."""

from __future__ import annotations

import json

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.chat_rows import is_chat, marks_assistant, template_of
from tuning.recommender.facts import Facts
from tuning.recommender.response_match import ResponseMatch
from tuning.recommender.values import by_user, is_from_scratch

_LEAST_SHARE = 0.99
_TOKENS = "TRL issues 1493 and 1920: a template that the tokens do not show masks the wrong part, without an error"
_MASKS = "TRL's dataset formats: what is given is no target"


class ResponseTemplate(Action):
    """The text before the answer, once the tokens of 99 percent of the sampled rows part there too."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Suggest what stands before the answer in every row, or tell of a given text that the tokens do not show."""
        match = facts.data.response if facts.data is not None else None
        if match is None or not match.num_compared:
            return None
        given = ir.is_set_by_user("data.response_template")
        if given or is_from_scratch(ir) or by_user(ir, "training.completion_only_loss") is False:
            return _joined(match) if given and match.share < _LEAST_SHARE else None
        if match.share < _LEAST_SHARE:
            return _joined(match)
        if facts.data is None or not _holds_for_all(ir, match, facts.data.num_rows):
            return None
        comment = (
            f"{json.dumps(match.template)} stands before the answer in each of {match.num_rows:,} sampled rows, and "
            f"the tokens of {match.share:.0%} part there; only the answer is learned."
        )
        return suggest({"data.response_template": match.template}, comment, Kind.MODEL_QUALITY, _TOKENS)


class LossMask(Action):
    """Loss on the completion alone, or on what the chat template marks as the assistant's."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by the shape that the rows take for TRL; a text without an answer is learned as a whole."""
        example = facts.data.example if facts.data is not None else None
        if example is None:
            return None
        if "messages" not in example:
            if "completion" not in example and not ir.get("data.response_template"):
                return None
            comment = "Each row has a prompt, which is given, and a completion, which is learned."
            return suggest({"training.completion_only_loss": True}, comment, Kind.MODEL_QUALITY, _MASKS)
        if not is_chat(example) or (template := template_of(ir, facts.tokenizer)) is None:
            return None
        if marks_assistant(template):
            comment = "The chat template marks what the assistant says, and only that is learned."
            return suggest({"training.assistant_only_loss": True}, comment, Kind.MODEL_QUALITY, _MASKS)
        if ir.get("training.assistant_only_loss") is True:
            comment = "The chat template does not mark what the assistant says, and TRL has no marked copy of it."
            values = {"training.assistant_only_loss": False}
            return suggest(values, comment, Kind.COMPATIBILITY, _MASKS, Level.MANDATORY)
        comment = (
            "The chat template does not mark what the assistant says, so each of its turns becomes a row of its own, "
            "with the turns before it as its prompt."
        )
        return suggest({"training.completion_only_loss": True}, comment, Kind.MODEL_QUALITY, _MASKS)


def _joined(match: ResponseMatch) -> Recommendation:
    """Tell of a text whose end is no end of a token."""
    comment = (
        f"response_template {json.dumps(match.template)}: in {match.num_compared - match.num_parting:,} of "
        f"{match.num_compared:,} rows the tokens join its end with the answer (as in {json.dumps(match.boundary)}), so "
        "the loss would fall on other tokens than in use: end it elsewhere, or give prompt and completion as columns."
    )
    return suggest({}, comment, Kind.MODEL_QUALITY, _TOKENS, Level.USER_INTERVENTION)


def _holds_for_all(ir: IR, match: ResponseMatch, num_rows: int | None) -> bool:
    """Tell whether rows that were not sampled hold the text too: they do where a template writes it into each."""
    return match.num_holding == match.num_rows and (
        bool(ir.get("data.data_formatter_template")) or match.num_rows == num_rows
    )
