"""Malformed checkpoints to go on from, and malformed adapters: each with a part of its one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from malformed import Case, weights
from malformed_configs import PICKLE
from malformed_models import archive
from safetensors.numpy import save_file

CHECKPOINT = "run/checkpoint-1"
UNUSABLE = "the checkpoint cannot be gone on from"


def resumed(change: Callable[[Path], Any], *more: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Name a checkpoint that a function changes, as if transformers alone had written it."""

    def write(folder: Path) -> None:
        checkpoint = folder / CHECKPOINT
        (checkpoint / "checkpoint.json").unlink()
        change(checkpoint)

    return ("run.json", f"resume_from_checkpoint={CHECKPOINT}", *more), write


def replaced(name: str, content: str | bytes) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Replace one file of the checkpoint."""
    data = content if isinstance(content, bytes) else content.encode()
    return resumed(lambda at: (at / name).write_bytes(data))


def cut(name: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Keep the first half of one file of the checkpoint."""

    def write(at: Path) -> None:
        content = (at / name).read_bytes()
        (at / name).write_bytes(content[: len(content) // 2])

    return resumed(write)


def state(**values: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Change the Trainer's state."""

    def write(at: Path) -> None:
        document = json.loads((at / "trainer_state.json").read_text())
        (at / "trainer_state.json").write_text(json.dumps({**document, **values}))

    return resumed(write)


def damaged(name: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Change a byte in a checkpoint that names its files' digests."""

    def write(folder: Path) -> None:
        file = folder / CHECKPOINT / name
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])

    return ("run.json", f"resume_from_checkpoint={CHECKPOINT}"), write


RESUMED: dict[str, Case] = {
    "nowhere": Case("'nowhere' is not a complete checkpoint", ("run.json", "resume_from_checkpoint=nowhere")),
    "a file": Case("is not a complete checkpoint", ("run.json", "resume_from_checkpoint=rows.jsonl")),
    "an empty folder": Case("is not a complete checkpoint", ("run.json", "resume_from_checkpoint=model/inner")),
    "a model": Case("is not a complete checkpoint", ("run.json", "resume_from_checkpoint=model")),
    "a damaged schedule": Case("scheduler.pt", *damaged("scheduler.pt")),
    "a damaged state": Case("trainer_state.json", *damaged("trainer_state.json")),
    "cut weights": Case("model.safetensors", *cut("model.safetensors")),
    "a cut optimizer": Case("optimizer.pt", *cut("optimizer.pt")),
    "a cut schedule": Case("scheduler.pt", *cut("scheduler.pt")),
    "cut generators": Case("rng_state.pth", *cut("rng_state.pth")),
    "a cut state": Case("trainer_state.json", *cut("trainer_state.json")),
    "weights of garbage": Case("model.safetensors", *replaced("model.safetensors", weights(b"[]"))),
    "weights that are a pickle": Case("model.safetensors", *replaced("model.safetensors", PICKLE)),
    "an optimizer that runs code": Case(UNUSABLE, *replaced("optimizer.pt", archive()), told_while_loading=True),
    "a schedule that runs code": Case(UNUSABLE, *replaced("scheduler.pt", archive()), told_while_loading=True),
    "generators that run code": Case(UNUSABLE, *replaced("rng_state.pth", archive()), told_while_loading=True),
    "a bare pickle for an optimizer": Case("optimizer.pt", *replaced("optimizer.pt", PICKLE)),
    "a state that is a list": Case("trainer_state.json", *replaced("trainer_state.json", "[]")),
    "a state that is a number": Case("trainer_state.json", *replaced("trainer_state.json", "7")),
    "an empty state": Case("trainer_state.json", *replaced("trainer_state.json", "")),
    "a deep state": Case("trainer_state.json", *replaced("trainer_state.json", "[" * 100_000)),
    "a step that is a text": Case("trainer_state.json", *state(global_step="one")),
    "a negative step": Case("trainer_state.json", *state(global_step=-5)),
    "an epoch that is a list": Case("trainer_state.json", *state(epoch=[1])),
    "a log that is a text": Case("trainer_state.json", *state(log_history="none")),
    "callbacks that are a list": Case("trainer_state.json", *state(stateful_callbacks=[1])),
    "pickled weights alone": Case(
        "is not a complete checkpoint",
        *resumed(lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin")),
    ),
    "adapters for a whole model": Case(
        "peft.peft_method", *resumed(lambda at: (at / "model.safetensors").rename(at / "adapter_model.safetensors"))
    ),
}


def adapter(
    change: Callable[[Path], Any] = lambda at: None, **values: Any
) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Write an adapter on the model, changed by some values of its configuration and by a function."""

    def write(folder: Path) -> None:
        at = folder / "adapter"
        at.mkdir()
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
        config |= {"base_model_name_or_path": "model", **values}
        (at / "adapter_config.json").write_text(json.dumps({key: each for key, each in config.items() if each != ""}))
        layers = [f"base_model.model.model.layers.{number}.self_attn.q_proj" for number in range(2)]
        tensors = {f"{layer}.lora_A.weight": numpy.zeros((2, 64), numpy.float32) for layer in layers}
        tensors |= {f"{layer}.lora_B.weight": numpy.zeros((64, 2), numpy.float32) for layer in layers}
        save_file(tensors, at / "adapter_model.safetensors")
        change(at)

    return ("generate", "adapter", "--prompt", "a", "--max-new-tokens", "1"), write


def written(name: str, content: str | bytes) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Replace one file of the adapter."""
    data = content if isinstance(content, bytes) else content.encode()
    return adapter(lambda at: (at / name).write_bytes(data))


def pickled(at: Path) -> None:
    """Put a pickle in the place of the weights."""
    (at / "adapter_model.safetensors").unlink()
    (at / "adapter_model.bin").write_bytes(archive())


ADAPTERS: dict[str, Case] = {
    "no JSON": Case("adapter_config.json", *written("adapter_config.json", "{")),
    "a list": Case("adapter_config.json", *written("adapter_config.json", "[]")),
    "a deep list": Case("adapter_config.json", *written("adapter_config.json", "[" * 100_000)),
    "no UTF-8": Case("adapter_config.json", *written("adapter_config.json", b"\xff\xfe")),
    "no base": Case("base_model_name_or_path", *adapter(base_model_name_or_path="")),
    "a base that is a number": Case("base_model_name_or_path", *adapter(base_model_name_or_path=7)),
    "a base that is not there": Case("the adapter's base is not there", *adapter(base_model_name_or_path="./nowhere")),
    "no type": Case("adapter", *adapter(peft_type="")),
    "an unknown type": Case("adapter", *adapter(peft_type="EVIL")),
    "a rank that is a text": Case("adapter", *adapter(r="two")),
    "a negative rank": Case("adapter", *adapter(r=-2)),
    "another rank than the weights": Case("adapter", *adapter(r=3)),
    "layers that are not there": Case("adapter", *adapter(target_modules=["nope"])),
    "another model's layers": Case("adapter", *adapter(target_modules=["c_attn"])),
    "a pattern that is none": Case("adapter", *adapter(target_modules="(")),
    "code of its own": Case(
        "adapter",
        *adapter(auto_mapping={"base_model_class": "M", "parent_library": "evil"}, task_type=None, peft_type="EVIL"),
    ),
    "pickled": Case("pickled weights are not loaded", *adapter(pickled)),
    "cut": Case("adapter", *adapter(lambda at: _cut(at / "adapter_model.safetensors"))),
    "weights of no bytes": Case("adapter", *written("adapter_model.safetensors", b"")),
    "weights that are a pickle": Case("adapter", *written("adapter_model.safetensors", PICKLE)),
    "a header beyond the file": Case("adapter", *written("adapter_model.safetensors", weights(b"{}", 1 << 40))),
    "weights of another model": Case("adapter", *adapter(lambda at: _renamed(at / "adapter_model.safetensors"))),
    "an embedding that is a text": Case("adapter", *written("added_tokens_info.json", "[")),
}


def _cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _renamed(file: Path) -> None:
    save_file({"base_model.model.transformer.h.0.lora_A.weight": numpy.zeros((2, 64), numpy.float32)}, file)
