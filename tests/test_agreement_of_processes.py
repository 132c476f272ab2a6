"""Agreement between two real processes that load no model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tuning.config.ir import IR
from tuning.processes import check_agreement, others_wait, part

CHECK = """
import sys
from torch import distributed
from tuning.config.ir import IR
from tuning.errors import UserError
from tuning.processes import check_agreement, others_wait, part
from tuning.world import rank
distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=rank(), world_size=2)
values = {"accelerate": {"machine_rank": rank()}, "training": {"seed": int(sys.argv[2 + rank()])}}
try:
    check_agreement(IR.of(values, "argument"))
except UserError as error:
    print(error)
with others_wait():
    print("waited")
part()
"""


def outputs(folder: Path, *seeds: str) -> list[str]:
    """Run the check in two processes, each with a seed of its own."""
    words = [sys.executable, "-c", CHECK, str(folder / "meet"), *seeds]
    started = [
        subprocess.Popen(
            words, env={"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, stdout=-1, text=True
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=120)[0] for process in started]


@pytest.mark.slow
def test_processes_with_different_configurations_refuse_to_train(tmp_path: Path) -> None:
    told = "the 2 processes of this run have 2 different configurations; complete it once"
    found = outputs(tmp_path, "1", "2")
    assert all(output.startswith(told) and output.endswith("waited\n") for output in found), found


def test_one_process_has_nobody_to_agree_with() -> None:
    check_agreement(IR())
    with others_wait():
        part()
