"""What a scenario trains, on disk: a Llama with random weights, a tokenizer trained on its rows, and the rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.recommended_cases import TASKS, write_task
from benchmarks.scenarios import Scenario

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>")
PADDING_IDS = (0, 3)
"""Ids that only padding has: a byte-level tokenizer has no use for <unk>, and some systems pad with id 0."""
HELD_OUT_ROWS = 64
_MOST_TRAINED_ON = 1000
"""Rows that the tokenizer is trained on."""
_WORDS_MEDIAN, _WORDS_SIGMA = (32, 48), (0.47, 0.66)
"""Words of prompts and answers, lognormal. Source: 4,100 rows of gsm8k, code and instructions in shared/data."""
_MOST_WORDS = 600
_SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdfgklmnprstvw" for vowel in "aeiou")
_NUM_WORDS = 5000

Row = Mapping[str, str]


@dataclass(frozen=True)
class Files:
    """Where model and rows of a scenario are."""

    model: Path
    train: Path
    held_out: Path


def write_files(scenario: Scenario, folder: Path) -> Files:
    """Write what a scenario needs, or take what an earlier call with the same scenario has left."""
    files = Files(folder / "model", folder / "train.jsonl", folder / "held-out.jsonl")
    if (files.model / "config.json").exists():
        return files
    rows = _rows(scenario, folder)
    held_out = min(HELD_OUT_ROWS, max(2, scenario.num_rows // 8))
    _write(files.held_out, rows[:held_out])
    _write(files.train, rows[held_out : held_out + scenario.num_rows])
    write_tokenizer(files.model, rows[:_MOST_TRAINED_ON], int(scenario.shape["vocab_size"]))
    _write_weights(files.model, scenario)
    return files


def generated_rows(num_rows: int, seed: int = 0) -> Iterator[Row]:
    """Make rows of made-up words, frequent and rare ones, whose lengths are lognormal as those of real rows are."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(_NUM_WORDS)]
    frequencies = [1 / rank for rank in range(1, _NUM_WORDS + 1)]
    for _ in range(num_rows):
        lengths = [
            max(1, min(_MOST_WORDS, round(median * draw.lognormvariate(0, sigma))))
            for median, sigma in zip(_WORDS_MEDIAN, _WORDS_SIGMA, strict=True)
        ]
        prompt, completion = (" ".join(draw.choices(words, frequencies, k=length)) for length in lengths)
        yield {"prompt": f"{prompt}?\n", "completion": f"{completion}."}


def _rows(scenario: Scenario, folder: Path) -> list[Row]:
    """Return held-out rows and training rows: real ones where they are asked for and there, else generated ones."""
    wanted = scenario.num_rows + HELD_OUT_ROWS
    if scenario.data == "instructions" and SHARED_DATA.is_dir():
        files = [file for name in TASKS if name != "intents" for file in write_task(name, SHARED_DATA, folder / "rows")]
        rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
        random.Random(0).shuffle(rows)
        if len(rows) >= wanted:
            return rows[:wanted]
    return list(generated_rows(wanted))


def write_tokenizer(folder: Path, rows: Sequence[Row], vocab_size: int) -> None:
    """Train a byte-level tokenizer on rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocab_size, 8192),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for row in rows for text in row.values()), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL_TOKENS, strict=True))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 100_000, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def _write_weights(folder: Path, scenario: Scenario) -> None:
    """Save random weights, always the same ones; config.json is written last, so that it tells a whole folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    shape: dict[str, Any] = {**scenario.shape, **tokens}
    torch.manual_seed(0)
    dtype = torch.bfloat16 if scenario.device == "cuda" else torch.float32
    with torch.device(scenario.device):
        model = LlamaForCausalLM._from_config(LlamaConfig(**shape), dtype=dtype)
    config = model.config
    model.save_pretrained(folder)
    config.save_pretrained(folder)


def _write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
