"""Documents and facts that the tests share; nothing here looks at this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tuning.config.ir import IR, merge_patch, nested
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu, HardwareFacts
from tuning.recommender.model_facts import ModelFacts, read_model
from tuning.recommender.token_lengths import RowLength

GIB = 1 << 30
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
TINY_LLAMA: dict[str, Any] = {
    **LLAMA_8B,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 400,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


def model(config: dict[str, Any]) -> ModelFacts:
    """Read a model that has no weights."""
    return read_model(config, Path("no such folder"))


def data(num_rows: int, tokens: int = 100, supervised: int = 50) -> DataFacts:
    """Make rows that are all of one length."""
    sampled = min(num_rows, 2000)
    return DataFacts(
        num_rows=num_rows,
        format="text",
        num_sampled_rows=sampled,
        row_lengths=(RowLength(tokens, supervised),) * sampled,
    )


def gpus(count: int, memory_gib: int, capability: tuple[int, int], **fields: Any) -> HardwareFacts:
    """Make a machine with equal GPUs and a process for each."""
    gpu = Gpu("a GPU", memory_gib * GIB, capability)
    return HardwareFacts("cuda", (gpu,) * count, 32, 256 * GIB, world_size=count, local_world_size=count, **fields)


CPU = HardwareFacts("cpu", (), 2, 16 * GIB)
CPU_WITH_BF16 = replace(CPU, has_cpu_bf16=True)
EIGHT_GPUS = gpus(8, 80, (9, 0))
ONE_OLD_GPU = gpus(1, 16, (7, 5))
ONE_GPU = gpus(1, 80, (8, 0))

SMALL = Facts(model(TINY_LLAMA), data(2000), CPU)
LARGE = Facts(model(LLAMA_8B), data(20_000, tokens=1000, supervised=400), ONE_GPU)
NOTHING = Facts()


def document(source: str = "command line", **values: Any) -> IR:
    """Make a document; `training__max_steps=5` sets `training.max_steps`."""
    document: dict[str, Any] = {}
    for name, value in values.items():
        document = merge_patch(document, nested(name.replace("__", "."), value))
    return IR.of(document, source)


def decided(**values: Any) -> IR:
    """Make a document that earlier actions wrote."""
    return document("action Earlier", **values)


def written(made: Any) -> dict[str, Any]:
    """Return what a recommendation writes, by flat name; nothing where the action skipped."""
    return {} if made is None else {key: value for section in made.patch.values() for key, value in section.items()}
