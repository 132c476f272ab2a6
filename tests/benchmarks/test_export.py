"""The benchmark of exports, with one model of two layers and with a format that is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.export import ARCHITECTURES, ROOT

pytestmark = pytest.mark.slow


def measured(*formats: tuple[str, str | None]) -> list[dict[str, Any]]:
    """Export a tiny Llama in some formats, as the benchmark does in a process of its own."""
    kind, fields = ARCHITECTURES["Llama"]
    case = json.dumps({"kind": kind, "fields": fields, "loras": [False], "formats": formats})
    command = [sys.executable, "-m", "benchmarks.export", "--one", case]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_row_tells_the_comparison_or_why_there_is_none() -> None:
    exact, coarse, refused = measured(("torch", None), ("gguf", "q4_0"), ("onnx", "q4_0"))
    assert exact["format"] == "torch float32"
    assert 0 < exact["max_difference"] <= 1e-4
    assert exact["same_greedy_text"]
    assert exact["seconds"] > 0
    assert coarse["max_difference"] > 1000 * exact["max_difference"]
    assert "in 32 bits" in refused["refused"]
