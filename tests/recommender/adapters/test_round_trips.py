"""What is written is read again as it was, and what is not is told of: for every adapter and any document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_runs import ENTANGLED, runs

from tuning.config.ir import IR, leaves
from tuning.config.names import field_paths
from tuning.recommender.adapters import ADAPTERS
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.documents import parse_document, render
from tuning.recommender.adapters.fms import ACCELERATE_FILE, COMPUTE_FILE, DATA_FILE, TUNING_FILE, read_files

NAMES = ("native", "fms", "accelerate", "trl", "llamafactory", "axolotl", "torchtune")
ELSEWHERE: dict[str, set[str]] = {
    "native": set(),
    "fms": {"compute.num_processes"},
    "accelerate": set(),
    "trl": {"model.use_flash_attn", "peft.bias", "accelerate", "compute.num_processes", "compute.num_nodes"},
    "llamafactory": {"peft.bias", "training.do_train", "data.data_format", "data.dataset_split"},
    "axolotl": {"model.use_flash_attn", "peft.bias"},
    "torchtune": {"peft.bias"},
}
"""Fields that go to another file than the one that is read again, or that come back under another name, or that say
what goes without saying there. All others come back, or are listed."""
IMPLIED: dict[str, set[str]] = {
    "native": set(),
    "fms": {
        *("accelerate.distributed_type", "compute.num_processes", "compute.num_nodes"),
        "quantization.bnb_4bit_quant_type",
    },
    "accelerate": {"accelerate.distributed_type", "compute.num_processes", "compute.num_nodes"},
    "trl": {"peft.peft_method", "model.attn_implementation", "quantization.bnb_4bit_compute_dtype"},
    "llamafactory": {"peft.peft_method", "model.dtype"},
    "axolotl": {"peft.peft_method", "model.dtype", "model.attn_implementation", "training.eval_strategy"},
    "torchtune": {"peft.peft_method", "model.dtype"},
}
"""Fields that their files always settle, where ours may leave them open; so does precision, which is one word there."""
PRECISION = {"training.bf16", "training.fp16"}


def holds(name: str, ir: IR, through_text: bool) -> None:
    """Check all that is promised of writing and reading a document."""
    adapter = ADAPTERS.load(name)()
    exported = adapter.write(ir)
    read = read_back(name, exported, through_text)
    nothing_is_lost_silently(name, ir, exported, read)
    new = {path for path, _ in leaves(read.ir.values)} - {path for path, _ in leaves(ir.values)}
    assert new <= IMPLIED[name] | PRECISION, exported.files
    again = adapter.write(read.ir)
    assert read_back(name, again, through_text).ir.values == read.ir.values, again.files
    assert {item.key for item in again.unmapped} <= {"model._component_"}


def nothing_is_lost_silently(name: str, ir: IR, exported: Exported, read: Imported) -> None:
    told = {item.key for item in exported.unmapped}
    for path in field_paths().values():
        value = ir.get(path)
        is_told = path in told or any(key.startswith(f"{path}.") for key in told)
        if value not in (None, {}) and not is_told and path not in ELSEWHERE[name]:
            assert read.ir.get(path) == value, (path, exported.files, exported.unmapped)


def read_back(name: str, exported: Exported, through_text: bool) -> Imported:
    files: dict[str, Any] = dict(exported.files)
    if through_text:
        files = {file: parse_document(render(file, content), file) for file, content in files.items()}
    if name == "fms":
        return read_files(*(files[file] for file in (TUNING_FILE, DATA_FILE, ACCELERATE_FILE, COMPUTE_FILE)))
    return ADAPTERS.load(name)().read(next(iter(files.values())), "a file")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(ir=st.one_of(runs(), runs(ENTANGLED)))
def test_a_document_comes_back_or_is_told_of(name: str, ir: IR) -> None:
    holds(name, ir, through_text=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_document_comes_back_through_its_text_or_is_told_of(name: str, data: st.DataObject) -> None:
    holds(name, data.draw(st.one_of(runs(), runs(ENTANGLED))), through_text=True)
