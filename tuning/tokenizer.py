"""Load the tokenizer and complete it: a pad token, a chat template, added tokens, and a record of what was added."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.config.schema import TuningConfig
from tuning.data.special_tokens import choose_pad_token
from tuning.data.templates import CHATML, read_chat_template
from tuning.errors import UserError, reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

ADDED_TOKENS_FILE = "added_tokens_info.json"
_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


@dataclass
class Additions:
    """What the tokenizer lacked and was given."""

    added_tokens: list[str] = field(default_factory=list)
    new_token_ids: list[int] = field(default_factory=list)
    """Ids of the added tokens that the model has to learn; a pad token is never learnt."""
    num_new_tokens: int = 0
    new_embedding_size: int | None = None
    pad_token: str | None = None
    chat_template: str | None = None

    def save(self, folder: Path) -> None:
        """Write the record beside the model, where whoever serves it looks for it."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / ADDED_TOKENS_FILE).write_text(f"{text}\n", encoding="utf-8")


def has_tokenizer(folder: Path) -> bool:
    """Tell from the names of its files whether a folder holds a tokenizer."""
    return any((folder / name).is_file() for name in _FILES)


def load_tokenizer(config: TuningConfig) -> tuple[PreTrainedTokenizerBase, Additions]:
    """Load the tokenizer and give it what training needs.

    Raises:
        UserError: there is no tokenizer, or it has no end token.
    """
    from transformers import AutoTokenizer

    model = config.model
    name = model.tokenizer_name_or_path or str(model.model_name_or_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=model.revision, cache_dir=model.cache_dir, trust_remote_code=model.trust_remote_code
        )
    except Exception as error:  # what libraries raise on a file that is wrong may be of any type
        told = f"no tokenizer can be loaded from '{name}': {reason_of(error)}"
        raise UserError(f"model.tokenizer_name_or_path: {told}") from error
    additions = Additions()
    before = len(tokenizer)
    _add_special_tokens(tokenizer, config, additions)
    _require_eos_token(tokenizer, config, name)
    _choose_pad_token(tokenizer, config, additions)
    _choose_chat_template(tokenizer, config, additions)
    additions.num_new_tokens = len(tokenizer) - before
    _report(additions)
    return tokenizer, additions


def _add_special_tokens(tokenizer: PreTrainedTokenizerBase, config: TuningConfig, additions: Additions) -> None:
    new = [token for token in config.model.add_special_tokens or [] if token not in tokenizer.get_vocab()]
    if new:
        tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
        additions.added_tokens += new
        additions.new_token_ids += [tokenizer.get_vocab()[token] for token in new]


def _require_eos_token(tokenizer: PreTrainedTokenizerBase, config: TuningConfig, name: str) -> None:
    wanted = dict(config.training)["eos_token"]
    if wanted is not None:
        if wanted not in tokenizer.get_vocab():
            raise UserError(f"training.eos_token: {wanted!r} is no token of the tokenizer in '{name}'")
        tokenizer.eos_token = wanted
    if tokenizer.eos_token is None:
        raise UserError(
            f"the tokenizer in '{name}' has no end token, so a model could not learn to stop; set eos_token"
        )


def _choose_pad_token(tokenizer: PreTrainedTokenizerBase, config: TuningConfig, additions: Additions) -> None:
    """Pad with a token that is never a target: one of its own, not the end token, else a new one."""
    wanted = dict(config.training)["pad_token"]
    if wanted is None and tokenizer.pad_token is not None and tokenizer.pad_token != tokenizer.eos_token:
        return
    vocabulary = tokenizer.get_vocab()
    eos_token, unk_token = tokenizer.special_tokens_map.get("eos_token"), tokenizer.special_tokens_map.get("unk_token")
    pad_token = wanted or choose_pad_token(vocabulary, eos_token, unk_token)
    if pad_token not in vocabulary:
        additions.added_tokens.append(pad_token)
    tokenizer.add_special_tokens({"pad_token": pad_token})
    additions.pad_token = pad_token


def _choose_chat_template(tokenizer: PreTrainedTokenizerBase, config: TuningConfig, additions: Additions) -> None:
    path = config.model.chat_template_path
    if config.model.chat_template is not None:
        tokenizer.chat_template = config.model.chat_template
        additions.chat_template = "the configuration's chat_template"
    elif path is not None:
        tokenizer.chat_template = _read_template(path)
        additions.chat_template = f"that of {path}"
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = CHATML
        additions.chat_template = "ChatML"


def _read_template(path: str) -> str | None:
    try:
        return read_chat_template(Path(path))
    except (OSError, ValueError) as error:
        raise UserError(f"model.chat_template_path: cannot read '{path}': {error}") from error


def _report(additions: Additions) -> None:
    if additions.added_tokens:
        logger.info("tokenizer: added %s", ", ".join(additions.added_tokens))
    if additions.pad_token:
        logger.info("tokenizer: pad token is now %s", additions.pad_token)
    if additions.chat_template:
        logger.info("tokenizer: chat template is now %s", additions.chat_template)
