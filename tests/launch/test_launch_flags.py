from __future__ import annotations

import pytest

from tuning.config.ir import IR
from tuning.errors import UserError
from tuning.launch.flags import Launch

MACHINES = {"--nproc": "4", "--nnodes": "2", "--node_rank": "1", "--master_addr": "host0"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"--nproc": "0"}, "--nproc: expected a whole number, at least 1, got '0'"),
        ({"--max_restarts": "-1"}, "--max_restarts: expected a whole number, at least 0, got '-1'"),
        ({"--nproc": "2", "--nnodes": "2"}, "--nnodes: several machines need --nproc, --node_rank and --master_addr"),
        ({"--nproc": "²"}, "--nproc: expected a whole number, at least 1, got '²'"),
        ({"--nproc": "2", "--master_port": "29501"}, "--master_port: it says how several machines meet; give --nnodes"),
        ({"--nproc": "2", "--node_rank": "0"}, "--node_rank: it says how several machines meet; give --nnodes"),
        ({**MACHINES, "--node_rank": "2"}, "--node_rank: expected a number below --nnodes, 2, got 2"),
    ],
)
def test_flags_that_make_no_sense_are_refused(given: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Launch.of(given)


def test_processes_of_all_machines_are_counted_together() -> None:
    asked = Launch.of(MACHINES)
    assert "compute.num_processes=8" in list(asked.settings())
    assert asked.num_ranks_here(IR.of({"compute": {"num_processes": 8, "num_nodes": 2}}, "argument")) == 4


def test_one_machine_needs_no_address() -> None:
    assert list(Launch.of({"--nproc": "2"}).settings()) == ["compute.num_processes=2"]
    assert list(Launch.of({"--max_restarts": "3"}).settings()) == []


def test_a_configuration_for_several_machines_needs_the_flags_of_each() -> None:
    with pytest.raises(UserError, match=r"--nnodes: the configuration is for 2 machines; give --nnodes"):
        Launch.of({"--nproc": "8"}).check_machines(IR.of({"compute": {"num_nodes": 2}}, "file run.json"))


def test_a_launcher_inside_of_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="a launcher has started this process already"):
        Launch().check_environment()
