"""What makes tokens of converted rows, as one value that another process can be given."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tuning.data.pieces import Cutter
from tuning.data.templates import chat_renderer
from tuning.data.tokenization import Encode, Encoder, Refuse, TokenRow, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PARALLELISM = "TOKENIZERS_PARALLELISM"

TokenizeRows = Callable[..., Iterator[TokenRow]]
"""Converted rows to sequences in their order; with `refuse` and `leave_out` of `tokenize`."""


@dataclass(frozen=True)
class Encoding:
    """A tokenizer's file, its special tokens and chat template, and what is trained on and cut off.

    `tokenizer` is the JSON of the library `tokenizers`; a tokenizer that is written in Python has `encode_slowly`
    instead, and stays in its process.
    """

    tokenizer: str
    special_tokens: Mapping[str, Any]
    chat_template: str
    num_ids: int
    max_length: int | None = None
    truncation_mode: str = "keep_start"
    completion_only_loss: bool = True
    assistant_only_loss: bool = True
    encode_slowly: Encode | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, chat_template: str, **settings: Any) -> Encoding:
        """Take what is needed from a tokenizer of transformers; `settings` are the fields from `max_length` on."""
        names = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
        if tokenizer.is_fast:
            backend: Any = tokenizer.backend_tokenizer
            text, slowly = _without_padding(backend.to_str()), None
        else:
            text, slowly = json.dumps([type(tokenizer).__qualname__, tokenizer.get_vocab()]), _in_python(tokenizer)
        return cls(text, names, chat_template, len(tokenizer), encode_slowly=slowly, **settings)

    def fingerprint(self) -> str:
        """Return a digest that changes wherever the tokens of the same rows could."""
        described = {name: value for name, value in asdict(self).items() if name != "encode_slowly"}
        text = json.dumps([described, version("tokenizers")], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def cutter(self) -> Cutter:
        """Make the function that cuts rows into pieces."""
        render = chat_renderer(self.chat_template, self.special_tokens)
        return Cutter(self.special_tokens["eos_token"], render, self.completion_only_loss, self.assistant_only_loss)

    def encoder(self) -> Encoder:
        """Load the tokenizer."""
        return Encoder.of(self.encode_slowly or _in_rust(self.tokenizer), self.num_ids)

    def token_rows(self, rows: Iterable[Mapping[str, Any]], refuse: Refuse | None = None) -> Iterator[TokenRow]:
        """Tokenize converted rows in order; see `tokenize`."""
        return self.tokenizer_of_rows()(rows, refuse=refuse)

    def tokenizer_of_rows(self) -> TokenizeRows:
        """Load the tokenizer, and return `tokenize` with all that is set here."""
        settings = {"max_length": self.max_length, "truncation_mode": self.truncation_mode}
        return partial(tokenize, cutter=self.cutter(), encoder=self.encoder(), **settings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep `tokenizers` from starting threads, unless the user says otherwise: processes share the work here.

    Threads would also make it warn, and stop using them, as soon as a process that loads batches is forked.
    """
    given = os.environ.get(_PARALLELISM)
    os.environ.setdefault(_PARALLELISM, "false")
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(_PARALLELISM, None)


def _without_padding(text: str) -> str:
    """Leave out the truncation and the padding that a tokenizer's file may ask for."""
    return json.dumps({**json.loads(text), "truncation": None, "padding": None}, ensure_ascii=False)


def _in_rust(text: str) -> Encode:
    from tokenizers import Tokenizer

    encode_batch: Callable[..., Any] = Tokenizer.from_str(text).encode_batch_fast

    def encode(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return [found.ids for found in encode_batch(list(texts), add_special_tokens=add_special_tokens)]

    return encode


def _in_python(tokenizer: PreTrainedTokenizerBase) -> Encode:
    def encode(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return [tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"] for text in texts]

    return encode
