from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.recommender.architecture import Architecture, read_architecture
from tuning.recommender.kernel_facts import KERNEL_PACKAGES, liger_model_types, probe_kernels


@pytest.mark.parametrize(
    ("model_type", "blocks"),
    [
        ("llama", ("LlamaDecoderLayer",)),
        ("gpt2", ("GPT2Block",)),
        ("gemma3_text", ("Gemma3DecoderLayer",)),
        ("qwen2_5_vl", ("Qwen2_5_VLDecoderLayer",)),
        ("no such type", None),
        ("../llama", None),
        (7, None),
    ],
)
def test_the_blocks_of_a_model_type_are_read_from_the_installed_transformers(model_type: Any, blocks: Any) -> None:
    assert read_architecture(model_type).no_split_modules == blocks


@pytest.mark.parametrize(
    ("model_type", "facts"),
    [
        ("llama", {"supports_flash_attn": True, "is_stateful": False, "has_self_attn": True, "fused_experts": ()}),
        ("gpt2", {"supports_flash_attn": True, "supports_sdpa": True, "has_self_attn": False}),
        ("gemma2", {"supports_sdpa": False}),
        ("mamba", {"supports_flash_attn": False, "is_stateful": True}),
        ("mixtral", {"fused_experts": ("experts.gate_up_proj", "experts.down_proj"), "can_group_experts": True}),
        ("mixtral", {"router_aux_loss_coef": 0.001, "flash_implementations": ()}),
        ("llama4_text", {"can_group_experts": False}),
    ],
)
def test_what_a_model_type_can_do_is_read_from_the_installed_transformers(model_type: str, facts: Any) -> None:
    found = read_architecture(model_type)
    assert {name: getattr(found, name) for name in facts} == facts


def test_a_model_that_takes_only_kernels_of_the_hub_says_so() -> None:
    assert "flash_attention_2" not in read_architecture("gpt_oss").flash_implementations != ()


def test_an_unknown_type_is_unknown_in_everything() -> None:
    assert read_architecture("no_such_type") == Architecture() == read_architecture(None)


def test_the_types_that_liger_knows_are_read_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "liger_kernel" / "transformers"
    folder.mkdir(parents=True)
    (tmp_path / "liger_kernel" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "monkey_patch.py").write_text(
        'MODEL_TYPE_TO_APPLY_LIGER_FN = {\n    "llama": one,\n    "qwen3": two,\n}\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert liger_model_types() == {"llama", "qwen3"}
    assert "liger_kernel" in probe_kernels() <= set(KERNEL_PACKAGES)
    assert read_architecture("llama").has_liger_kernels
    assert not read_architecture("gpt2").has_liger_kernels
