from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, UserError
from tuning.wrapper import check_launch, check_made, check_wrapper

FSDP = {"accelerate": {"distributed_type": "FSDP"}}
DEEPSPEED = {"accelerate": {"distributed_type": "DEEPSPEED"}}


def config_of(values: dict[str, Any]) -> tuple[TuningConfig, IR]:
    return TuningConfig.model_validate(values), IR.of(values, "file run.json")


def arguments(state: str, world_size: int = 2, use_cpu: bool = True) -> Any:
    """Return what training arguments say of the devices."""
    made = SimpleNamespace(distributed_type=SimpleNamespace(name=state))
    device = SimpleNamespace(type="cpu" if use_cpu else "cuda")
    return SimpleNamespace(distributed_state=made, world_size=world_size, device=device, use_cpu=use_cpu)


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("WORLD_SIZE", "2")
    return monkeypatch


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize(("values", "name"), [(FSDP, "FSDP"), (DEEPSPEED, "DeepSpeed")])
def test_a_way_that_the_launcher_does_not_know_of_is_refused(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"from file run.json\); {name} was asked for, and DDP was launched"):
        check_launch(*config_of(values))


def test_a_launcher_that_shards_where_ddp_was_asked_for_is_refused(two_processes: pytest.MonkeyPatch) -> None:
    two_processes.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="DDP was asked for, and FSDP was launched"):
        check_launch(*config_of({"accelerate": {"distributed_type": "MULTI_GPU"}}))
    check_launch(*config_of(FSDP))
    check_launch(*config_of({}))


def test_one_process_is_not_what_fsdp_was_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"FSDP was asked for, and one process was launched\. Launch with"):
        check_launch(*config_of(FSDP))


@pytest.mark.parametrize("values", [FSDP, {"training": {"fsdp": "full_shard"}}])
def test_what_accelerate_would_make_of_fsdp_on_a_cpu_is_refused(
    values: dict[str, Any], two_processes: pytest.MonkeyPatch
) -> None:
    two_processes.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"accelerate makes DDP of it here \(its state is MULTI_CPU\)"):
        check_wrapper(*config_of(values), arguments("MULTI_CPU"))
    check_wrapper(*config_of(values), arguments("MULTI_GPU", use_cpu=False))


def test_use_cpu_is_named_where_it_makes_accelerate_forget_deepspeed(two_processes: pytest.MonkeyPatch) -> None:
    two_processes.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="set use_cpu=false ddp_backend=gloo"):
        check_wrapper(*config_of(DEEPSPEED), arguments("MULTI_CPU"))


@pytest.mark.usefixtures("two_processes")
def test_processes_that_do_not_find_each_other_are_told_how_to() -> None:
    with pytest.raises(UserError, match=r"2 processes were launched.*sees 1\. Without GPUs, set use_cpu=true"):
        check_wrapper(*config_of({}), arguments("NO", world_size=1))


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize(("name", "kind"), [("tp", "tensor"), ("cp", "context"), ("sp", "sequence")])
def test_parallelism_that_needs_gpus_is_refused_on_a_cpu(name: str, kind: str) -> None:
    key = f"parallelism_config_{name}_size"
    values = {"accelerate": {"parallelism_config": {key: 2}}}
    with pytest.raises(ConfigError, match=rf"{key}: got 2 .*{kind} parallelism needs GPUs"):
        check_wrapper(*config_of(values), arguments("MULTI_CPU"))
    check_wrapper(*config_of(values), arguments("MULTI_GPU", use_cpu=False))


def test_a_trainer_that_was_made_in_another_way_is_refused() -> None:
    with pytest.raises(ConfigError, match="FSDP was asked for, and the trainer has MULTI_GPU"):
        check_made(config_of(FSDP)[0], "MULTI_GPU")
    check_made(config_of(FSDP)[0], "FSDP")
