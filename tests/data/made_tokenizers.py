"""Two tokenizers made on the spot, and what makes tokens with them."""

from __future__ import annotations

import json
from typing import Any

from tuning.data.encoding import Encoding
from tuning.data.templates import CHATML

EOS = "</s>"
SPECIAL = {"bos_token": "<s>", "eos_token": EOS}
SENTENCES = ("The heron waits beside the river.", "What is 12 + 30? The answer is 42.", "def add(a, b): return a + b")


def byte_level() -> str:
    """Make a tokenizer like GPT-2's, with a token before each text and one after it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<unk>", "<s>", EOS, "<sep>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return _with_template(tokenizer, "<s> $A <sep>")


def prefix_space() -> str:
    """Make a tokenizer like the first Llamas': a space before each text, and bytes for what it does not know."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    blank = "\u2581"
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(blank), normalizers.Replace(" ", blank)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(blank, " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", EOS]
    alphabet = [blank, *"abcdefghijklmnopqrstuvwxyz"]
    trained = [*special, *(f"<0x{number:02X}>" for number in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=trained, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([word for sentence in SENTENCES for word in sentence.split()], trainer)
    document = json.loads(_with_template(tokenizer, "<s> $A"))
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in special]
    return json.dumps(document)


def _with_template(tokenizer: Any, single: str) -> str:
    from tokenizers.processors import TemplateProcessing

    names = [name for name in single.split() if name != "$A"]
    tokens = [(name, tokenizer.token_to_id(name)) for name in names]
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=tokens)
    return tokenizer.to_str()


TOKENIZERS = {"byte_level": byte_level, "prefix_space": prefix_space}


def encoding_of(name: str, **settings: Any) -> Encoding:
    from tokenizers import Tokenizer

    text = TOKENIZERS[name]()
    return Encoding(text, SPECIAL, CHATML, Tokenizer.from_str(text).get_vocab_size(), **settings)
