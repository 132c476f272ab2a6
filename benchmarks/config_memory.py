"""What each shipped configuration is expected to need: the line `Memory` in its head, from the closed form of the plan.

`python -m benchmarks.config_memory` writes the lines anew; a test fails where one is stale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.published_models import NUM_PARAMETERS, PUBLISHED_MODELS
from tuning.config.ir import IR
from tuning.config.loading import load_ir
from tuning.recommender.completion import completed
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu, HardwareFacts
from tuning.recommender.memory import memory_parts
from tuning.recommender.memory_plan import decided_step, fits, gib
from tuning.recommender.model_facts import ModelFacts, read_model
from tuning.recommender.token_lengths import RowLength
from tuning.recommender.values import whole

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
NUM_ROWS, TOKENS, SUPERVISED_TOKENS = 10_000, 2_048, 1_024
"""The rows that the memory is told for: as many, and each as long, as people often have them."""
NUM_SAMPLED_ROWS = 2_000
CAPABILITIES = {24: (8, 6), 48: (8, 9), 80: (9, 0)}
"""Memory of a GPU, GiB -> compute capability. Source: NVIDIA's A10, L40S and H100."""
MEMORY_LINE = re.compile(r"^# Memory: .*$", re.MULTILINE)
_GPU = re.compile(r" of (\d+) GiB ")


@dataclass(frozen=True)
class Expected:
    """The peak of a step on each GPU, bytes, and the rows of a forward pass."""

    num_bytes: int
    rows: int
    fits: bool
    ir: IR

    def line(self, gpu_memory_gib: int) -> str:
        """Write the line of a configuration's head."""
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return (
            f"# Memory: {gib(self.num_bytes)} of {gpu_memory_gib} GiB on each GPU, {rows} of {TOKENS:,} tokens a pass"
        )


def shipped_configs() -> list[Path]:
    """List the configurations of recipes."""
    return sorted(path for path in CONFIGS.glob("*_finetune/*.yaml"))


def gpu_memory_gib(text: str) -> int:
    """Read from a configuration's head the GPU that it is meant for."""
    line = MEMORY_LINE.search(text)
    found = _GPU.search(line[0]) if line else None
    if found is None:
        raise ValueError("no line '# Memory: … of N GiB …'")
    return int(found[1])


def expected_memory(path: Path, gpu_memory_gib: int) -> Expected:
    """Complete a configuration for rows and GPUs that need not be here, and estimate its step."""
    given = load_ir([str(path)], environ={}).ir
    facts = Facts(_model(str(given.get("model.model_name_or_path"))), _rows(), _hardware(given, gpu_memory_gib))
    ir = completed(given, facts).ir
    step = decided_step(ir, facts)
    parts = memory_parts(facts.model, step) if facts.model is not None else None
    if parts is None:
        raise ValueError(f"{path}: the shape of its model is not known")
    return Expected(parts.total, step.rows, fits(step, facts) is True, ir)


def _model(name: str) -> ModelFacts:
    facts = read_model(PUBLISHED_MODELS[name], Path("no folder"))
    return replace(facts, num_parameters=NUM_PARAMETERS[name], num_parameters_is_exact=True, has_weights=True)


def _rows() -> DataFacts:
    lengths = (RowLength(TOKENS, SUPERVISED_TOKENS),) * NUM_SAMPLED_ROWS
    return DataFacts(num_rows=NUM_ROWS, format="chat", num_sampled_rows=len(lengths), row_lengths=lengths)


def _hardware(ir: IR, gpu_memory_gib: int) -> HardwareFacts:
    """Make the machines that a configuration asks for, with memory enough for what stays on the CPU."""
    per_node, nodes = whole(ir, "compute.num_gpus_per_node") or 1, whole(ir, "compute.num_nodes") or 1
    gpu = Gpu("GPU as given", gpu_memory_gib << 30, CAPABILITIES[gpu_memory_gib])
    return HardwareFacts(
        *("cuda", (gpu,) * per_node, 64),
        world_size=per_node * nodes,
        local_world_size=per_node,
        num_nodes=nodes,
    )


def main() -> None:
    """Write the line of every configuration anew."""
    for path in shipped_configs():
        text = path.read_text(encoding="utf-8")
        size = gpu_memory_gib(text)
        path.write_text(MEMORY_LINE.sub(expected_memory(path, size).line(size), text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
