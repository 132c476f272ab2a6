"""Train two steps on the GPU in a process of their own and print the peak of torch's memory, bytes; 0: out of memory.

`python -m benchmarks.memory_gpu_process CASE`: CASE is JSON, `config` (as in config.json) and `step` (fields of Step).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.memory_process import train
from benchmarks.tiny_model import write_tiny_model


def peak_of(config: Mapping[str, Any], step: Mapping[str, Any]) -> int:
    """Return the most that torch had allocated, or 0 where it did not get what it asked for."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(config, step, write_tiny_model(Path(folder)), use_cpu=False)
        except torch.OutOfMemoryError:
            return 0
    return torch.cuda.max_memory_allocated()


def main(argv: Sequence[str]) -> int:
    """Measure one case."""
    case = json.loads(argv[0])
    print(json.dumps({"peak": peak_of(case["config"], case["step"])}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
