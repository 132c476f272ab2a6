"""How conversations become tokens: the chat template, the end token, the pad token and the begin token."""

from __future__ import annotations

import json

from tuning.config.ir import IR
from tuning.data.special_tokens import choose_pad_token
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.chat_families import ChatFamily, chat_family
from tuning.recommender.chat_rows import eos_token_of, is_chat
from tuning.recommender.facts import Facts

_NEVER_STOPS = "TRL issue 1623, unsloth issue 416: without the end token in the loss a model never learns to stop"
_PAD = "TRL issue 1623: where the end token pads, its labels are masked with the padding"


class ChatTemplate(Action):
    """The family's template, or ChatML, for conversations whose tokenizer has none."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by the model's type and the tokens that the tokenizer knows; a template that is there stays."""
        if not _has_chat(facts) or facts.tokenizer is None or _is_given(ir, facts):
            return None
        family = _family(facts)
        if family.tokens:
            comment = f"The tokenizer has no chat template and knows the control tokens of {family.name}: its way."
        else:
            comment = (
                "Warning: the tokenizer has no chat template. ChatML is written, which this model may never have seen, "
                f"with {json.dumps(facts.tokenizer.eos_token or 'the end token')} after each turn."
            )
        source = "the templates of the families' own models; ChatML otherwise, as in TRL"
        return suggest({"model.chat_template": family.template}, comment, Kind.MODEL_QUALITY, source)


class EosToken(Action):
    """The token that the chat template writes after a turn of the assistant, so that generation stops there."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Look at what follows the assistant's last words in one row."""
        if not _has_chat(facts) or (tokenizer := facts.tokenizer) is None:
            return None
        if not _is_given(ir, facts):
            return _with_eos(_family(facts).end_token, eos_token_of(ir, tokenizer))
        end = facts.chat.end if facts.chat is not None else None
        eos_token = eos_token_of(ir, tokenizer)
        if end is None or (eos_token is not None and end.lstrip().startswith(eos_token)):
            return None
        found = [token for token in tokenizer.token_ids if token.strip() and end.lstrip().startswith(token)]
        if found:
            token = max(found, key=len)
            return None if token in tokenizer.stop_tokens else _with_eos(token, eos_token)
        if tokenizer.token_ids and not end.strip():
            comment = "The chat template writes no end token after what the assistant says: mend model.chat_template."
            return suggest({}, comment, Kind.MODEL_QUALITY, _NEVER_STOPS, Level.USER_INTERVENTION)
        return None


class PadToken(Action):
    """A token that is not the end token."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose as the trainer would: a pad token by name, a reserved one, the unknown one, else a new one."""
        tokenizer, eos_token = facts.tokenizer, eos_token_of(ir, facts.tokenizer)
        if tokenizer is None or eos_token is None or not tokenizer.token_ids:
            return None
        if tokenizer.pad_token is not None and tokenizer.pad_token != eos_token:
            return None
        chosen = choose_pad_token(tokenizer.token_ids, eos_token, tokenizer.unk_token)
        lack = "has no pad token" if tokenizer.pad_token is None else f"pads with the end token {json.dumps(eos_token)}"
        known = "which it knows" if chosen in tokenizer.token_ids or chosen == tokenizer.unk_token else "a new token"
        comment = f"The tokenizer {lack}; {json.dumps(chosen)}, {known}, is never a target."
        return suggest({"training.pad_token": chosen}, comment, Kind.MODEL_QUALITY, _PAD)


class BosToken(Action):
    """Not twice."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Tell of rows that start with the begin token where the tokenizer or the template adds another."""
        bos_token = facts.tokenizer.bos_token if facts.tokenizer is not None else None
        if bos_token is None or facts.tokenizer is None:
            return None
        example = facts.data.example if facts.data is not None else None
        text = next((str(example[key]) for key in ("text", "prompt") if key in example), "") if example else ""
        if facts.chat is not None and facts.chat.start.startswith(bos_token * 2):
            where = "The chat template writes it twice: mend model.chat_template."
        elif not is_chat(example) and facts.tokenizer.adds_bos_token and text.startswith(bos_token):
            where = "The rows start with it, and the tokenizer adds another: leave it out of the rows."
        else:
            return None
        comment = f"Each row would start with {json.dumps(bos_token)} twice. {where}"
        source = "no model has seen two begin tokens in its training"
        return suggest({}, comment, Kind.MODEL_QUALITY, source, Level.USER_INTERVENTION)


def _has_chat(facts: Facts) -> bool:
    return facts.data is not None and is_chat(facts.data.example)


def _is_given(ir: IR, facts: Facts) -> bool:
    """Tell whether the user or the tokenizer brings a template."""
    own = facts.tokenizer.chat_template if facts.tokenizer is not None else None
    return own is not None or ir.is_set_by_user("model.chat_template") or bool(ir.get("model.chat_template_path"))


def _family(facts: Facts) -> ChatFamily:
    model_type = facts.model.model_type if facts.model is not None else None
    return chat_family(model_type, facts.tokenizer.token_ids if facts.tokenizer is not None else ())


def _with_eos(token: str | None, eos_token: str | None) -> Recommendation | None:
    if token is None or token == eos_token:
        return None
    comment = f"The chat template ends a turn with {json.dumps(token)}, and generation stops at the end token alone."
    return suggest({"training.eos_token": token}, comment, Kind.MODEL_QUALITY, _NEVER_STOPS)
