"""Checkpoints in parts: written here by one process, and hostile ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import UserError
from tuning.sharding.parts import (
    METADATA_FILE,
    MODEL_PART,
    check_metadata,
    has_parts,
    load_model_parts,
    read_model_parts,
)


class Canary:
    """Writes a file when a pickle of it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    import torch
    from torch.distributed import checkpoint

    state = {"model": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(3, dtype=torch.bfloat16)}}
    checkpoint.save(state, checkpoint_id=str(tmp_path / MODEL_PART), no_dist=True)
    return tmp_path


def test_parts_are_read_without_a_model(checkpoint: Path) -> None:
    read = read_model_parts(checkpoint)
    assert has_parts(checkpoint)
    assert read["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_parts_are_loaded_into_the_memory_of_a_model(checkpoint: Path) -> None:
    import torch

    weight = torch.zeros(2, 3)
    load_model_parts({"weight": weight}, checkpoint)
    assert weight.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_description_that_could_run_code_is_refused_and_runs_none(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / MODEL_PART / METADATA_FILE).write_bytes(pickle.dumps(Canary(tmp_path / "ran")))
    for read in (check_metadata, read_model_parts):
        with pytest.raises(UserError, match=r"\.metadata: cannot be read: \.metadata names .*, which describes no"):
            read(checkpoint)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04"])
def test_a_description_that_is_cut_short_is_refused(content: bytes, checkpoint: Path) -> None:
    (checkpoint / MODEL_PART / METADATA_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"\.metadata: cannot be read"):
        check_metadata(checkpoint)


def test_a_checkpoint_without_parts_is_nothing_to_check(tmp_path: Path) -> None:
    check_metadata(tmp_path)
    assert not has_parts(tmp_path)
