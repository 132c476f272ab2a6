"""The plugins of this package, as they are registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.plugins import _PATHS, PLUGINS
from tuning.acceleration.selection import select

READ_ALL = """
import sys
from tuning.acceleration.plugins import PLUGINS
for name in PLUGINS.names():
    PLUGINS.load(name)
print(sorted({"torch", "transformers", "trl", "peft", "datasets"} & set(sys.modules)))
"""
BOTH = ("peft.quantization.bitsandbytes", "peft.quantization.auto_gptq")


def stanza(path: str, settings: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        settings = {key: settings}
    return settings


def test_reading_the_plugins_imports_no_torch(project_root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READ_ALL], cwd=project_root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", _PATHS)
def test_a_plugin_has_settings_and_the_paths_that_it_says(name: str) -> None:
    kind = PLUGINS.load(name)
    assert issubclass(kind, AccelerationPlugin) and kind.settings is not None
    assert {*kind.configuration_and_paths, *kind.configuration_or_paths} <= set(_PATHS[name])
    assert set(kind.requires) | set(kind.conflicts) <= {path for paths in _PATHS.values() for path in paths}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in _PATHS.items() for path in paths])
def test_every_path_turns_its_plugin_on_with_its_defaults(name: str, path: str) -> None:
    found = select(stanza(path, {}), is_complete=False)
    assert found.problems == []
    assert [each.name for each in found.active] == [name]


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("peft.quantization.auto_gptq", {"kernel": "triton_v2", "from_quantized": True}),
        ("peft.quantization.bitsandbytes", {"quant_type": "nf4", "no_peft_model": False}),
        ("training.attention.padding_free", {"method": "huggingface"}),
        ("training.dataloader.multipack", {"num_processes": 16}),
        (
            "training.fused_ops_and_kernels",
            {
                "base_layer": "auto_gptq",
                "fused_lora": True,
                "fast_loss": True,
                "fast_rms_layernorm": True,
                "fast_rope_embeddings": True,
            },
        ),
        ("training.moe.scattermoe", {"ep_degree": 1}),
    ],
)
def test_a_stanza_of_fms_accelerations_sample_files_is_taken(path: str, settings: dict[str, Any]) -> None:
    found = select(stanza(path, settings), is_complete=False)
    assert found.problems == []
    assert found.active[0].plugin.configurations == {path: settings}


def test_two_quantizations_at_once_are_refused_with_both_names() -> None:
    names = {path.rpartition(".")[2]: {} for path in BOTH}
    told = "\n".join(str(each) for each in select({"peft": {"quantization": names}}).problems)
    assert "only one plugin can load the model" in told
    assert "BitsAndBytesPlugin" in told and "AutoGPTQPlugin" in told


def test_multipack_without_padding_free_is_refused_with_both_names() -> None:
    (problem,) = select({"training": {"dataloader": {"multipack": {}}}}).problems
    assert "MultipackPlugin cannot work without PaddingFreePlugin" in str(problem)


def test_the_misspelt_key_of_a_published_sample_is_found() -> None:
    """Source: a sample of fms-acceleration with Liger, which nothing there catches."""
    (problem,) = select(stanza("training.fused_ops_and_kernels", {"fast_rsm_layernorm": True})).problems
    assert problem.hint == "Did you mean 'fast_rms_layernorm'?"
