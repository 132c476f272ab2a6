from __future__ import annotations

from pathlib import Path

import pytest
from tiny_families import MakeModel

from tuning.errors import UserError
from tuning.export.exporter import Options
from tuning.export.exporting import export_model
from tuning.export.source import find_source

pytest.importorskip("onnxruntime")


@pytest.mark.slow
def test_a_graph_says_what_the_merged_model_says(adapter: MakeModel, tmp_path: Path) -> None:
    made = export_model(find_source(str(adapter("llama"))), "onnx", tmp_path / "out")
    assert made.comparison.max_difference <= 1e-4
    assert (made.comparison.top_1, made.comparison.same_greedy_text) == (1.0, True)


def test_a_graph_in_other_types_is_refused(tiny_config_only_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="onnx is in 32 bits"):
        export_model(find_source(str(tiny_config_only_model)), "onnx", tmp_path / "out", Options("q8_0"))
