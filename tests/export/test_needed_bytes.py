from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tuning.export.exporter import Options
from tuning.export.exporters import new_exporter
from tuning.export.source import find_source


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """Make the folder of a small adapter on a large base in 16 bits."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    save_file({"w": np.zeros(10**6, np.float16)}, tmp_path / "base" / "model.safetensors")
    (tmp_path / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros(10**4, np.float32)}, tmp_path / "adapter" / "adapter_model.safetensors")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("name", "quantize", "megabytes"),
    [
        *(("torch", None, 2.0), ("adapter", None, 0.04), ("onnx", None, 4.0), ("tensorflow", None, 4.0)),
        *(("gguf", None, 2.0), ("gguf", "f32", 4.0), ("gguf", "q8_0", 1.0625)),
    ],
)
def test_each_format_asks_for_the_room_that_it_takes(
    name: str, quantize: str | None, megabytes: float, adapter: Path
) -> None:
    needed = new_exporter(name).needed_bytes(find_source(str(adapter)), Options(quantize))
    assert needed / 1e6 == pytest.approx(megabytes, abs=0.001)
