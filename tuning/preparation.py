"""Make tokens of a run's rows before its folder exists and its model is loaded, or take up those of an earlier run."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.config.decided import seed_of, training_value
from tuning.config.schema import TuningConfig
from tuning.data.audit_report import audit_prepared, refuse_warnings, tell_audit
from tuning.data.datasets import check_rows_left
from tuning.data.encoding import Encoding
from tuning.data.packing import splits_rows
from tuning.data.prepared import Encodings, Prepared, PreparedRows
from tuning.data.rows import Rows, load_rows
from tuning.data.streamed import TokenStream, first_rows, open_stream
from tuning.errors import UserError
from tuning.tokenizer import Additions, load_tokenizer
from tuning.world import rank

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.data.audit import Audit

logger = logging.getLogger(__name__)

_MARK = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True)
class Preparation:
    """The tokenizer, what it was given, how it makes tokens of rows, the tokens, and what the audit says of them."""

    tokenizer: PreTrainedTokenizerBase
    additions: Additions
    encodings: Encodings
    prepared: Prepared
    audit: Audit | None = None
    stream: TokenStream | None = None
    """What is trained on where rows are streamed; `prepared` then holds the first of them."""


def prepare(config: TuningConfig) -> Preparation:
    """Load the tokenizer, take up the tokens of the rows or make them, and audit them.

    Raises:
        UserError: the rows, the tokenizer or the chat template cannot be used, or the audit ends the run.
    """
    seed = seed_of(config)
    stream = open_stream(config.data, seed) if config.data.streaming else None
    load = (lambda: load_rows(config.data, seed)) if stream is None else (lambda: first_rows(stream))
    kept = PreparedRows(config.data, seed, load)
    rows = kept.load_new_rows()  # before transformers is imported
    tokenizer, additions = load_tokenizer(config)
    encodings = encodings_of(config, tokenizer)
    prepared = kept.prepare(encodings, dict(config.training)["dataset_num_proc"], rows)
    _check_kind_of_loss(config, prepared)
    found = _audited(config, prepared, encodings, load)
    check_rows_left(prepared, max_length_of(config))
    tokens = TokenStream(stream, encodings.train) if stream is not None else None
    return Preparation(tokenizer, additions, encodings, prepared, found, tokens)


def encodings_of(config: TuningConfig, tokenizer: PreTrainedTokenizerBase) -> Encodings:
    """Say how the training rows and the held-out ones become tokens; undecided fields have TRL's defaults."""
    packing, eval_packing = training_value(config, "packing"), training_value(config, "eval_packing")
    assistant_only = dict(config.training)["assistant_only_loss"] is not False
    settings: dict[str, Any] = {
        "chat_template": _training_template(tokenizer) if assistant_only else tokenizer.get_chat_template(),
        "truncation_mode": training_value(config, "truncation_mode"),
        "completion_only_loss": dict(config.training)["completion_only_loss"] is not False,
        "assistant_only_loss": assistant_only,
    }
    max_length, keeps_all = max_length_of(config), splits_rows(str(training_value(config, "packing_strategy")))
    packs = (packing, packing if eval_packing is None else eval_packing)
    lengths = [None if pack and keeps_all else max_length for pack in packs]
    return Encodings(*(Encoding.of(tokenizer, max_length=length, **settings) for length in lengths))


def _audited(config: TuningConfig, prepared: Prepared, encodings: Encodings, load: Callable[[], Rows]) -> Audit | None:
    if config.data.audit == "off":
        return None
    found = audit_prepared(prepared, encodings.train, load)
    if rank() == 0:
        tell_audit(found, config.data.audit)
    refuse_warnings(found, config.data.audit)
    return found


def max_length_of(config: TuningConfig) -> int | None:
    """Return the longest sequence, tokens."""
    return training_value(config, "max_length")


def _training_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the chat template, or TRL's marked copy of it: the same texts, with marks around the answers."""
    template = tokenizer.get_chat_template()
    if _MARK.search(template):
        return template
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer) or template
    except Exception:  # it renders the template, which may fail in any way; rendering rows will tell
        return template


def _check_kind_of_loss(config: TuningConfig, prepared: Prepared) -> None:
    """Refuse a loss on the assistant alone where nobody speaks, and tell of conversations that were taken apart."""
    if dict(config.training)["assistant_only_loss"] and not prepared.is_chat:
        raise UserError(
            f"training.assistant_only_loss: the rows ({prepared.format}) are no conversations; leave it out: "
            "the loss falls on completions alone"
        )
    num_rows, num_sequences = prepared.num_rows("train"), len(prepared.tables["train"].table)
    if prepared.is_chat and num_sequences > num_rows:
        logger.warning(
            "The chat template writes earlier turns differently once others follow, so each answer of a conversation "
            "becomes a row of its own (prompt: the turns before it): %d rows of %d conversations",
            num_sequences,
            num_rows,
        )
