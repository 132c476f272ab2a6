"""How the rows of a document become tokens, found out from the tokenizer's files alone."""

from __future__ import annotations

from tuning.config.hf_fields import sft_config_fields
from tuning.config.ir import IR
from tuning.data.encoding import Encoding
from tuning.data.packing import splits_rows
from tuning.data.templates import CHATML
from tuning.recommender.chat_rows import marked_copy
from tuning.recommender.token_lengths import load_tokenizer
from tuning.recommender.tokenizer_facts import TokenizerFacts, probe_tokenizer
from tuning.recommender.values import whole


def encoding_of(ir: IR) -> Encoding | None:
    """Return what makes tokens of the training rows; None where there is no `tokenizer.json`, or no end token."""
    tokenizer, facts = load_tokenizer(ir), probe_tokenizer(ir) or TokenizerFacts()
    eos_token = ir.get("training.eos_token") or facts.eos_token
    if tokenizer is None or eos_token is None:
        return None
    tokenizer.add_special_tokens(list(ir.get("model.add_special_tokens") or ()))
    names = {"bos_token": facts.bos_token, "eos_token": eos_token, "unk_token": facts.unk_token}
    template = ir.get("model.chat_template") or facts.chat_template or CHATML
    assistant_only = ir.get("training.assistant_only_loss") is not False
    return Encoding(
        tokenizer.to_str(),
        {name: token for name, token in names.items() if token is not None},
        marked_copy(template) if assistant_only else template,
        tokenizer.get_vocab_size(),
        max_length=_max_length(ir),
        truncation_mode=ir.get("training.truncation_mode") or "keep_start",
        completion_only_loss=ir.get("training.completion_only_loss") is not False,
        assistant_only_loss=assistant_only,
    )


def _max_length(ir: IR) -> int | None:
    """Return the length at which rows are cut; None where a long row goes on in another sequence."""
    defaults = sft_config_fields()
    strategy = ir.get("training.packing_strategy") or defaults["packing_strategy"].default
    if ir.get("training.packing") is True and splits_rows(str(strategy)):
        return None
    return whole(ir, "training.max_length") or int(defaults["max_length"].default)
