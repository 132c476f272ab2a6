"""Export models of every architecture to every format: `python -m benchmarks.export` writes docs/export.md's tables.

Each case runs in a process of its own: it makes a model with random weights (and an adapter on it), exports it, and
prints what export.json says of the comparison, with seconds of CPU and memory. Neither imports nor the making of the
model count. Memory is what the process holds of its own (RssAnon) beyond what it held before, at most, while it loads,
merges and writes, and while it compares; pages of mapped files, which the kernel takes back, are not in it. An export
that is refused, as one is that does not say what the model says, is told in its row; then the page stays as it is, and
the command ends with exit code 1.

The prompts are rows of shared/data beside the checkout, else of the quickstart. Where llama-cpp-python is installed,
the same prompts go through llama.cpp, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.export_llama_cpp import compared_with_llama_cpp
from benchmarks.tables import circumstances, replace_between_marks, table
from tuning.errors import UserError, first_line

if TYPE_CHECKING:
    from tuning.export.source import Source

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "export.md"
COMMAND = "python -m benchmarks.export"
FORMATS = (
    *(("torch", None), ("gguf", "f32"), ("gguf", "f16"), ("gguf", "bf16"), ("gguf", "q8_0")),
    *(("onnx", None), ("tensorflow", None)),
)
SMALLER = (("gguf", "q5_1"), ("gguf", "q5_0"), ("gguf", "q4_1"), ("gguf", "q4_0"))
QUICKSTART = ROOT / "examples" / "quickstart"
ROWS = (ROOT.parent / "shared" / "data" / "instruct_seed_tasks.jsonl", QUICKSTART / "validation.jsonl")
ARCHITECTURE_HEADER = (
    *("architecture", "weights", "format", "largest difference", "same top token", "same greedy text"),
    "llama.cpp: difference, top token",
)
SIZE_HEADER = ("a gigabyte of", "format", "CPU s", "memory, writing", "memory, comparing", "largest difference")
REFUSED = "refused"
_SECONDS_BETWEEN_SAMPLES = 0.01
_NUM_RUNS = 2
"""Runs of a case whose time counts: another program beside them, or a slower host, makes one longer, never shorter."""
_LARGEST_FOR_LLAMA = 2**28
"""Bytes of the largest file that llama.cpp is asked about: it is the same code for all sizes."""

_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
_GEMMA = {"tie_word_embeddings": True, "head_dim": 16, "sliding_window": 128, "query_pre_attn_scalar": 16}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaConfig", _SHAPE),
    "Mistral": ("MistralConfig", _SHAPE | {"sliding_window": 128}),
    "Qwen2": ("Qwen2Config", _SHAPE),
    "Qwen3": ("Qwen3Config", _SHAPE | {"head_dim": 16}),
    "Granite": ("GraniteConfig", _SHAPE | {"embedding_multiplier": 2.0, "attention_multiplier": 0.2}),
    "Gemma2": ("Gemma2Config", _SHAPE | _GEMMA),
    "Gemma3": ("Gemma3TextConfig", _SHAPE | _GEMMA | {"num_hidden_layers": 6}),
    "Phi3": ("Phi3Config", _SHAPE | {"pad_token_id": 3}),
    "GPT2": ("GPT2Config", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}),
}
LARGE: dict[str, dict[str, Any]] = {
    "float32": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 15, "vocab_size": 32000},
    "bfloat16": {"hidden_size": 1280, "intermediate_size": 3520, "num_hidden_layers": 21, "vocab_size": 32000},
}
"""Shapes of a Llama with a gigabyte of weights, by their type."""


class Watch(logging.Handler):
    """Samples the memory of this process, apart for each phase; the exporter's own log says where a phase begins."""

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.peaks, self.is_over = "writing", {"writing": 0, "comparing": 0}, threading.Event()
        self.before = _anonymous()

    def emit(self, record: logging.LogRecord) -> None:
        """Begin the second phase where the exporter says so."""
        if "comparing on" in record.getMessage():
            self.phase = "comparing"

    def run(self) -> None:
        """Sample until it is over."""
        while not self.is_over.wait(_SECONDS_BETWEEN_SAMPLES):
            self.peaks[self.phase] = max(self.peaks[self.phase], _anonymous() - self.before)


def main() -> None:
    """Measure, and write the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print-only", action="store_true", help="leave the page as it is")
    parser.add_argument("--only", choices=("architectures", "size"), help="measure one of the tables")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(list(_measured(json.loads(given.one)))))
        return
    tables = {"architectures": (ARCHITECTURE_HEADER, architectures), "size": (SIZE_HEADER, size)}
    for name in [given.only] if given.only else tables:
        header, measure = tables[name]
        rows = []
        for row in measure():
            print(*row, flush=True)
            rows.append(row)
        if refused := [row for row in rows if REFUSED in row[-1]]:
            sys.exit(f"{len(refused)} exports are refused: the page stays as it is")
        if not given.print_only:
            replace_between_marks(PAGE, f"export-{name}", f"{table(header, rows)}\n\n{circumstances(COMMAND)}")


def architectures() -> Iterator[tuple[str, ...]]:
    """Compare every architecture, whole and as a merged LoRA, in every format; yields rows."""
    for name, (kind, fields) in ARCHITECTURES.items():
        formats = FORMATS + SMALLER if name == "Llama" else FORMATS
        for one in _in_a_process({"kind": kind, "fields": fields, "loras": (False, True), "formats": formats}):
            yield name, _weights(one), one["format"], *_compared(one)


def size() -> Iterator[tuple[str, ...]]:
    """Measure time, the least of some runs, and memory, the most, for a gigabyte of weights; yields rows."""
    formats = (("torch", None), ("gguf", None), ("gguf", "q8_0"))
    for dtype, fields in LARGE.items():
        for lora in (False, True):
            case = {"kind": "LlamaConfig", "fields": fields, "loras": (lora,), "formats": formats, "dtype": dtype}
            runs = [_in_a_process({**case, "warm": True}) for _ in range(_NUM_RUNS)]
            for same in zip(*runs, strict=True):
                yield f"{dtype}, {_weights(same[0])}", same[0]["format"], *_taken(same)


def _weights(one: dict[str, Any]) -> str:
    return "LoRA merged" if one["lora"] else "whole"


def _compared(one: dict[str, Any]) -> tuple[str, ...]:
    if REFUSED in one:
        return "", "", "", f"{REFUSED}: {one[REFUSED]}"
    same_text = "yes" if one["same_greedy_text"] else "no"
    return f"{one['max_difference']:.1e}", f"{one['top_1']:.1%}", same_text, one["llama.cpp"]


def _taken(same: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if refused := [one[REFUSED] for one in same if REFUSED in one]:
        return "", "", "", f"{REFUSED}: {refused[0]}"
    seconds, num_bytes = min(one["seconds"] for one in same), same[0]["bytes"]
    shares = [
        f"{max(one[phase] for one in same) / num_bytes:.2f} times the weights" for phase in ("writing", "comparing")
    ]
    return f"{seconds:.1f}", *shares, f"{max(one['max_difference'] for one in same):.1e}"


def _in_a_process(case: dict[str, Any]) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.export", "--one", json.dumps(case)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # waiting for another thread is no time of the export's
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(case: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make a model, warm the libraries up on a tiny one where seconds count, and export it in each format."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for lora in case["loras"]:
        with tempfile.TemporaryDirectory(prefix="benchmark-export-") as name:
            folder = Path(name)
            model = _make(folder, case, lora)
            for number, (kind, quantize) in enumerate(case["formats"]):
                try:
                    if case.get("warm"):
                        tiny = _make(folder / f"warm-{number}", {**case, "fields": {**case["fields"], **_SHAPE}}, lora)
                        _export(tiny, kind, quantize, folder / f"warm-{number}" / "out")
                    yield {"lora": lora, **_export(model, kind, quantize, folder / f"out-{number}")}
                except UserError as error:
                    yield {"lora": lora, "format": f"{kind} {quantize or 'unchanged'}", REFUSED: first_line(error)}


def _export(model: Path, kind: str, quantize: str | None, out: Path) -> dict[str, Any]:
    from tuning.export.exporter import Options
    from tuning.export.exporting import export_model
    from tuning.export.source import find_source
    from tuning.export.weights import model_bytes

    gc.collect()
    source, watch = _as_of_a_run(find_source(str(model)), out.parent / "run"), Watch()
    log = logging.getLogger("tuning")
    log.setLevel(logging.INFO)
    log.addHandler(watch)
    thread = threading.Thread(target=watch.run)
    thread.start()
    began = time.process_time()
    try:
        made = export_model(source, kind, out, Options(quantize))
    finally:
        seconds = time.process_time() - began
        watch.is_over.set()
        thread.join()
        log.removeHandler(watch)
    found = {"format": f"{kind} {made.dtype}", "seconds": seconds, "bytes": model_bytes(source)}
    return {**found, "llama.cpp": _by_llama_cpp(source, out), **watch.peaks, **made.comparison.to_dict()}


def _by_llama_cpp(source: Source, out: Path) -> str:
    """Say how far llama.cpp is from the model, where there is a file for it and the package that reads it."""
    file = out / "model.gguf"
    if importlib.util.find_spec("llama_cpp") is None or not file.is_file() or file.stat().st_size > _LARGEST_FOR_LLAMA:
        return ""
    try:
        difference, top_1 = compared_with_llama_cpp(source, file)
    except ValueError as error:
        return f"cannot be read: {error}"
    return f"{difference:.1e}, {top_1:.1%}"


def _as_of_a_run(source: Source, folder: Path) -> Source:
    """Say that a run held rows out, whose beginnings are then the prompts."""
    rows = next(file for file in ROWS if file.is_file())
    values = {"model_name_or_path": source.saved.base, "training_data_path": str(rows), "validation_fraction": 0.2}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**values, "output_dir": str(folder)}), encoding="utf-8")
    return dataclasses.replace(source, run_folder=folder)


def _make(folder: Path, case: dict[str, Any], lora: bool) -> Path:
    """Write a model with random weights, large enough for each to matter, and an adapter on it where asked for."""
    import torch
    import transformers

    from tuning.data.templates import CHATML

    base = folder / "base"
    base.mkdir(parents=True)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(QUICKSTART / "model" / file, base)
    (base / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    vocab_size = transformers.AutoConfig.from_pretrained(base).vocab_size
    fields = {"vocab_size": vocab_size, "bos_token_id": 1, "eos_token_id": 2, **case["fields"]}
    torch.manual_seed(0)
    config = getattr(transformers, case["kind"])(**fields)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, case.get("dtype", "float32")))
    if model.num_parameters() < 10_000_000:
        for name, parameter in model.named_parameters():
            mean = 1.0 if parameter.ndim == 1 and "norm" in name and "Gemma" not in case["kind"] else 0.0
            torch.nn.init.normal_(parameter, mean, 0.3 if parameter.ndim == 1 else 0.12)
    model.save_pretrained(base)
    if not lora:
        return base
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=8, task_type="CAUSAL_LM", target_modules="all-linear"))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0, 0.02)
    adapted.save_pretrained(str(folder / "adapter"))
    return folder / "adapter"


def _anonymous() -> int:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
