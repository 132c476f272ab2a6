"""A model of a few thousand parameters and a tokenizer of bytes, made on the spot; its weights are random."""

from __future__ import annotations

import json
from pathlib import Path


def write_tiny_model(folder: Path) -> Path:
    """Write configuration and tokenizer of a Llama into a folder; there are no weights to load."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ("<s>", "</s>", "<pad>")
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("bos_token", "eos_token", "pad_token"), special, strict=True))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps(_config(len(pieces))))
    return folder


def _config(vocab_size: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
    }
