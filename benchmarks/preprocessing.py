"""How fast rows become tokens, against TRL's own path: `python -m benchmarks.preprocessing`.

The same rows, tokenizer and lengths on both sides; each measurement in a process of its own, imports left out. TRL's
path is `datasets.load_dataset("json")` and what `SFTTrainer` does with the result; ours is what `tune preprocess` does.
`second run` takes up what the first one kept. The time to the first batch counts from there to the first batch of the
trainer's own data loader.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tables import circumstances, replace_between_marks, table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "preprocessing.md"
NUM_ROWS = 200_000
_MAX_LENGTH = 256
_PROCESSES = (1, 2)
_WORDS = (
    *("the", "heron", "waits", "beside", "a", "river", "until", "evening", "and", "asks", "which", "lantern"),
    *("two", "kettles", "three", "umbrellas", "stand", "in"),
)
_WORDS_OF_PROMPT, _WORDS_OF_COMPLETION = (8, 30), (3, 15)


class Measured(NamedTuple):
    """One measurement: seconds for all rows, to the first batch, and how many sequences and tokens came out."""

    path: str
    num_processes: int
    run: str
    seconds: float
    first_batch: float
    num_sequences: int
    num_tokens: int


def main() -> None:
    """Measure, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help="rows to make (default: %(default)s)")
    parser.add_argument("--print-only", action="store_true", help="leave the page as it is")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_measure(json.loads(given.one))))
        return
    with tempfile.TemporaryDirectory(prefix="preprocessing-") as folder:
        found = list(_all(Path(folder), given.rows))
    text = f"{_text(found, given.rows)}\n\n{circumstances('make bench-preprocessing')}"
    print(text)
    if not given.print_only:
        replace_between_marks(PAGE, "preprocessing", text)


def _all(folder: Path, num_rows: int) -> Iterator[Measured]:
    model, rows = folder / "model", folder / "rows.jsonl"
    _write_rows(rows, num_rows)
    _write_model(model)
    for path in ("TRL", "tuning"):
        for num_processes in _PROCESSES:
            cache = folder / f"{path}-{num_processes}"
            for run in ("first", "second"):
                asked = [path, num_processes, run, str(model), str(rows), str(cache)]
                found = Measured(*json.loads(_in_a_process(asked, cache)))
                print(
                    f"{found.path}, {found.num_processes} processes, {found.run} run: {found.seconds:.1f} s", flush=True
                )
                yield found


def _in_a_process(asked: Sequence[Any], cache: Path) -> str:
    environ = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environ["TOKENIZERS_PARALLELISM"] = "false"  # processes are compared, not threads within them
    command = [sys.executable, "-m", "benchmarks.preprocessing", "--one", json.dumps(asked)]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _measure(asked: Sequence[Any]) -> Measured:
    path, num_processes, run, model, rows, cache = asked
    paths = {"TRL": _by_trl, "tuning": _by_us}
    return Measured(path, num_processes, run, *paths[path](model, rows, cache, num_processes))


def _by_trl(model: str, rows: str, cache: str, num_processes: int) -> tuple[float, float, int, int]:
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    loaded = AutoModelForCausalLM.from_pretrained(model)
    args = SFTConfig(
        output_dir=f"{cache}/out",
        max_length=_MAX_LENGTH,
        dataset_num_proc=num_processes,
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
    )
    started = time.monotonic()
    dataset = load_dataset("json", data_files=rows, split="train")
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = SFTTrainer(loaded, args, train_dataset=dataset, processing_class=tokenizer)
    seconds = time.monotonic() - started
    next(iter(trainer.get_train_dataloader()))
    first_batch = time.monotonic() - started
    prepared: Any = trainer.train_dataset
    return seconds, first_batch, len(prepared), sum(map(len, prepared["input_ids"]))


def _by_us(model: str, rows: str, cache: str, num_processes: int) -> tuple[float, float, int, int]:
    from transformers import AutoModelForCausalLM

    from tuning.arguments import sft_config
    from tuning.data.datasets import load_datasets
    from tuning.evaluation.scored_trainer import ScoredTrainer
    from tuning.preparation import max_length_of, prepare
    from tuning.sft_trainer import load_config

    words = [f"model_name_or_path={model}", f"training_data_path={rows}", f"output_dir={cache}/out", "recommend=false"]
    words += [f"max_length={_MAX_LENGTH}", f"dataset_num_proc={num_processes}", "use_cpu=true", "bf16=false"]
    config = load_config([*words, "validation_fraction=0"]).config
    loaded = AutoModelForCausalLM.from_pretrained(model)
    started = time.monotonic()
    preparation = prepare(config)
    seconds = time.monotonic() - started
    args = sft_config(config)
    splits = load_datasets(preparation.prepared, args, max_length_of(config))
    trainer = ScoredTrainer(loaded, args, train_dataset=splits.train, processing_class=preparation.tokenizer)
    next(iter(trainer.get_train_dataloader()))
    first_batch = time.monotonic() - started
    prepared = preparation.prepared
    return seconds, first_batch, len(prepared.tables["train"].table), prepared.num_tokens()


def _text(found: Sequence[Measured], num_rows: int) -> str:
    header = ("path", "processes", "run", "seconds", "rows/s", "first batch after, s", "tokens")
    lines = [
        (
            *(one.path, one.num_processes, one.run, f"{one.seconds:.2f}", f"{num_rows / one.seconds:,.0f}"),
            *(f"{one.first_batch:.2f}", f"{one.num_tokens:,}"),
        )
        for one in found
    ]
    return f"{num_rows:,} rows:\n\n{table(header, lines)}"


def _write_rows(file: Path, num_rows: int) -> None:
    draw = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(num_rows):
            prompt, completion = (
                " ".join(draw.choices(_WORDS, k=draw.randint(*limits)))
                for limits in (_WORDS_OF_PROMPT, _WORDS_OF_COMPLETION)
            )
            lines.write(json.dumps({"prompt": f"{number}: {prompt}?", "completion": f" {completion}."}) + "\n")


def _write_model(folder: Path) -> None:
    """Make a tiny Llama with a tokenizer that knows the words of the rows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "</s>", "<pad>"]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(_WORDS)] * 10, trainer)
    names = dict(zip(("bos_token", "eos_token", "pad_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=500, max_position_embeddings=512, **size)).save_pretrained(folder)


if __name__ == "__main__":
    main()
