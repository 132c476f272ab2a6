"""The trials of the recommender: small trained models of four families, and the tasks that they are tuned for."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELD_OUT_ROWS = 100
VOCAB_SIZE = 2048
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
_PASSAGE_LENGTH = 400
_CHATS = ("chat_messages.jsonl", "rag_mtrag.jsonl")
"""Files of shared/data that hold conversations; the models learn to write from these, and the tasks are others."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One model, one task and one method."""

    model: str
    task: str
    method: str

    @property
    def name(self) -> str:
        """Return a name that is fit for a folder."""
        return f"{self.model}-{self.task}-{self.method}"


CASES = (
    Case("llama", "gsm8k", "lora"),
    Case("llama", "code", "none"),
    Case("gpt2", "intents", "lora"),
    Case("gpt2", "instructions", "none"),
    Case("qwen3", "code", "lora"),
    Case("granite", "gsm8k", "none"),
)


def _gsm8k(row: Row) -> tuple[str, str]:
    return f"Question: {row['question']}\nAnswer:", f" {row['answer']}"


def _code(row: Row) -> tuple[str, str]:
    return f"{row['instruction']}\n{row.get('input') or ''}\n", str(row.get("output") or row.get("response"))


def _intents(row: Row) -> tuple[str, str]:
    return f"Message: {row['text']}\nIntent:", f" {row['category']}"


TASKS: Mapping[str, tuple[str, Callable[[Row], tuple[str, str]]]] = {
    "gsm8k": ("math_gsm8k_train.jsonl", _gsm8k),
    "code": ("code_instruct.json", _code),
    "instructions": ("instruct_roleplay.json", _code),
    "intents": ("classify_banking77.csv", _intents),
}


def write_task(name: str, data: Path, folder: Path) -> tuple[Path, Path]:
    """Write a task's rows as prompt and completion; every nth row is held out, so that classes stay mixed."""
    file, convert = TASKS[name]
    rows = [dict(zip(("prompt", "completion"), convert(row), strict=True)) for row in _rows(data / file)]
    every = len(rows) // HELD_OUT_ROWS
    held_out = [row for index, row in enumerate(rows) if index % every == 0][:HELD_OUT_ROWS]
    train = [row for index, row in enumerate(rows) if index % every != 0]
    return _write(folder / f"{name}.train.jsonl", train), _write(folder / f"{name}.held-out.jsonl", held_out)


def write_corpus(data: Path, folder: Path) -> Path:
    """Write passages of text that no task holds, for the models to learn to write from."""
    texts = [str(row["text"]) for row in _rows(data / "text_wikipedia.jsonl")]
    texts += [_conversation(row) for name in _CHATS for row in _rows(data / name)]
    texts += [f"{row['prompt']}{row['canonical_solution']}" for row in _rows(data / "code_mbpp.jsonl")]
    whole = "\n\n".join(texts)
    passages = (whole[start : start + _PASSAGE_LENGTH] for start in range(0, len(whole), _PASSAGE_LENGTH))
    return _write(folder / "corpus.jsonl", [{"text": passage} for passage in passages])


def write_model(model_type: str, corpus: Path, folder: Path) -> Path:
    """Write configuration and tokenizer of a model of about a million parameters; there are no weights yet."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB_SIZE, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet)
    tokenizer.train_from_iterator((str(row["text"]) for row in _rows(corpus)), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps(_SHAPES[model_type]))
    return folder


_TOKENS = {"vocab_size": VOCAB_SIZE, "dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
_BLOCKS = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    **_TOKENS,
}
_SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **_BLOCKS},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "tie_word_embeddings": True, **_BLOCKS},
    "granite": {"model_type": "granite", "architectures": ["GraniteForCausalLM"], **_BLOCKS},
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": 128,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 512,
        **_TOKENS,
    },
}


def _conversation(row: Row) -> str:
    turns = row.get("messages") or row.get("input") or ()
    return "\n".join(str(turn.get("content") or turn.get("text") or "") for turn in turns)


def _rows(path: Path) -> Iterator[Row]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        yield from csv.DictReader(text.splitlines())
    elif path.suffix == ".json":
        yield from json.loads(text)
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())


def _write(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
