"""Two real processes on CPUs, against one: `python -m benchmarks.devices` tries all other ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.device_runs import (
    DDP,
    FSDP2,
    Way,
    command,
    go_on_from,
    largest_difference,
    losses,
    settings,
    train,
    weights,
    write_inputs,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("devices")
    write_inputs(folder)
    return folder


def trained_alone(inputs: Path, run: Path, method: str) -> Path:
    """Train in this process."""
    from tuning import train as train_here

    train_here(settings(inputs, run, method, DDP, 1))
    return run


def trained_by_two(inputs: Path, run: Path, method: str, way: Way) -> Path:
    """Train in two processes of a launcher."""
    log = run.with_suffix(".log")
    assert train(command(inputs, run, method, way, 2), log) == 0, log.read_text()[-3000:]
    return run


@pytest.mark.parametrize(("way", "method"), [(DDP, "LoRA"), (FSDP2, "full")], ids=["ddp-lora", "fsdp2-full"])
def test_two_processes_learn_what_one_does_and_one_goes_on_from_their_checkpoint(
    way: Way, method: str, inputs: Path, tmp_path: Path
) -> None:
    one = trained_alone(inputs, tmp_path / "one", method)
    two = trained_by_two(inputs, tmp_path / "two", method, way)
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    assert largest_difference(weights(two / "model"), weights(one / "model")) < 1e-4
    go_on_from(two, tmp_path / "fewer")
    assert losses(trained_alone(inputs, tmp_path / "fewer", method)) == pytest.approx(losses(one), abs=1e-4)
