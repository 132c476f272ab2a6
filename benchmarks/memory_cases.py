"""The models and the steps whose memory is estimated, traced and measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuning.recommender.memory import Step


def _llama(h: int, layers: int, heads: int, kv: int, i: int, vocab: int, **fields: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": h,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": i,
        "vocab_size": vocab,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        **fields,
    }


def _gpt2(h: int, layers: int, heads: int, vocab: int = 50257) -> dict[str, Any]:
    sizes = {"n_embd": h, "n_layer": layers, "n_head": heads, "n_positions": 1024}
    return {"model_type": "gpt2", **sizes, "vocab_size": vocab, "bos_token_id": 0, "eos_token_id": 1}


TIED = {"tie_word_embeddings": True}
QWEN3 = {"model_type": "qwen3", "head_dim": 128}
SHAPES: Mapping[str, dict[str, Any]] = {
    "Llama-3 8B": _llama(4096, 32, 32, 8, 14336, 128256),
    "Llama-3 70B": _llama(8192, 80, 64, 8, 28672, 128256),
    "Llama-3.2 1B": _llama(2048, 16, 32, 8, 8192, 128256, head_dim=64, **TIED),
    "Mistral 7B": _llama(4096, 32, 32, 8, 14336, 32000, model_type="mistral", sliding_window=None),
    "Qwen3 0.6B": _llama(1024, 28, 16, 8, 3072, 151936, **QWEN3, **TIED),
    "Qwen3 4B": _llama(2560, 36, 32, 8, 9728, 151936, **QWEN3, **TIED),
    "Gemma 2B": _llama(2048, 18, 8, 1, 16384, 256000, model_type="gemma", head_dim=256, **TIED),
    "GPT-2": _gpt2(768, 12, 12),
}
"""The published shapes, as their config.json files have them."""

SMALL_LLAMA = _llama(512, 8, 8, 4, 1536, 32000)
SMALL_QWEN3 = _llama(512, 8, 8, 4, 1536, 32000, **TIED, model_type="qwen3", head_dim=64)
SMALL_GRANITE = _llama(640, 6, 8, 2, 1792, 16000, **TIED, model_type="granite")
SMALL_GPT2 = _gpt2(512, 8, 8, 16000)


@dataclass(frozen=True, eq=False)
class Case:
    """One step of one model."""

    model: str
    config: Mapping[str, Any]
    step: Step

    def description(self) -> str:
        """Say in short what is trained, and in which formats."""
        step = self.step
        base = "nf4" if step.load_in_4bit else "float32" if step.dtype_bytes == 4 else "bfloat16"
        method = "all weights" if step.r is None else f"LoRA {step.r}"
        words = [method, base, "autocast" * step.autocast, "checkpointing" * step.gradient_checkpointing]
        words += [f"{step.num_shards} shards" * (step.num_shards > 1), "padding" * step.has_mask]
        return ", ".join(filter(None, words))

    @property
    def rows(self) -> str:
        """Write rows and tokens of each."""
        return f"{self.step.rows} x {self.step.length:,}"


def measured_cases() -> Iterator[Case]:
    """Yield steps that a CPU can do, small enough for a few GiB and a minute or two each."""
    for model, config in (("Llama 58M", SMALL_LLAMA), ("Qwen3 42M", SMALL_QWEN3)):
        yield Case(model, config, _on_cpu(2, 512))
        yield Case(model, config, _on_cpu(4, 256, gradient_checkpointing=True))
        yield Case(model, config, _on_cpu(1, 1024, r=16))
        yield Case(model, config, _on_cpu(2, 512, r=16, gradient_checkpointing=True))
    yield Case("Granite 37M", SMALL_GRANITE, _on_cpu(4, 256))
    yield Case("Granite 37M", SMALL_GRANITE, _on_cpu(1, 64, dtype_bytes=2))
    yield Case("Granite 37M", SMALL_GRANITE, _on_cpu(1, 64, autocast=True, r=8))
    yield Case("GPT-2 34M", SMALL_GPT2, _on_cpu(2, 512))
    yield Case("GPT-2 34M", SMALL_GPT2, _on_cpu(4, 512, r=16))
    yield Case("GPT-2 34M", SMALL_GPT2, _on_cpu(1, 64, dtype_bytes=2, gradient_checkpointing=True))


def traced_cases() -> Iterator[Case]:
    """Yield steps of real models as they are trained on GPUs."""
    full, lora = ({"dtype_bytes": 4, "autocast": True}, {"dtype_bytes": 2, "autocast": True, "r": 16})
    for model, config in SHAPES.items():
        length = 1024 if model == "GPT-2" else 2048
        for fields in (full, lora, {"dtype_bytes": 2}, {"dtype_bytes": 4, "autocast": True, "r": 16}):
            yield Case(model, config, Step(1, length, **fields))
            yield Case(model, config, Step(8, length // 2, **fields, gradient_checkpointing=True))
        yield Case(model, config, Step(2, 512, dtype_bytes=4, r=8, head="tiles_on_cpu"))
        yield Case(model, config, Step(4, length, dtype_bytes=2, r=64, gradient_checkpointing=True))
        yield Case(model, config, Step(4, 512, dtype_bytes=2, head="whole"))
    for model in ("Llama-3 8B", "Llama-3 70B", "Qwen3 4B"):
        quantized = Step(4, 2048, dtype_bytes=2, autocast=True, r=16, load_in_4bit=True, gradient_checkpointing=True)
        divided = Step(2, 4096, **full, gradient_checkpointing=True, num_shards=8, num_replicas=8)
        padded = Step(4, 1024, **lora, padding=True)
        yield from (Case(model, SHAPES[model], step) for step in (quantized, divided, padded))


def gpu_cases() -> Iterator[Case]:
    """Yield steps that fit one GPU of 80 GB, the first ones closely."""
    config = SHAPES["Llama-3 8B"]
    for fields in (
        {"r": 16, "gradient_checkpointing": True},
        {"r": 16},
        {"gradient_checkpointing": True},
        {"r": 16, "gradient_checkpointing": True, "rows": 4},
    ):
        yield Case("Llama-3 8B", config, Step(**{"rows": 1, "length": 4096, "dtype_bytes": 2, **fields}))


def _on_cpu(rows: int, length: int, **fields: Any) -> Step:
    return Step(rows, length, **fields, head="tiles_on_cpu")
