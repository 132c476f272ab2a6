"""The four files of fms-hf-tuning: what is trained, on which rows, over which processes, on which machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.config.ir import IR, leaves
from tuning.config.sections import Compute
from tuning.errors import ConfigError, Problem
from tuning.recommender.action import Recommendation
from tuning.recommender.adapters.accelerate_file import AccelerateAdapter
from tuning.recommender.adapters.adapter import Adapter, Exported, Imported, Unmapped
from tuning.recommender.adapters.conversions import SECRET
from tuning.recommender.adapters.documents import read_document
from tuning.recommender.adapters.fms_data import read_data_config, write_data_config
from tuning.recommender.adapters.fms_tuning import NOT_READ, read_tuning, write_tuning
from tuning.recommender.adapters.launch import accelerate_launch
from tuning.recommender.adapters.mapping import Reading, Row, Writing

TUNING_FILE, DATA_FILE = "tuning_config.yaml", "tuning_data_config.yaml"
ACCELERATE_FILE, COMPUTE_FILE = "accelerate_config.yaml", "compute_config.yaml"
File = Mapping[str, Any] | str | os.PathLike[str]
NOT_WRITTEN = {
    "compute": "is not in fms-hf-tuning's compute file",
    "data.data_format": "fms-hf-tuning tells it by a data handler, and has none for this shape of row",
    "data.dataset_split": "fms-hf-tuning takes the split train",
    "data.validation_fraction": "is said in the data file, and that needs training_data_path",
    "model.attn_implementation": "fms-hf-tuning knows only use_flash_attn",
    "model.chat_template_path": "fms-hf-tuning takes a template as text: chat_template",
    "training.hub_token": SECRET,
    "quantization": "fms-hf-tuning knows 4 bits of type nf4 or fp4",
}

_COMPUTE = tuple(name for name in Compute.model_fields if name != "num_processes")
"""Keys of the compute file; the accelerate file says how many processes there are."""


class FmsAdapter(Adapter):
    """fms-hf-tuning. One document is its tuning file; `read_files` takes all four."""

    name = "fms"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether the document is flat, with names that fms-hf-tuning alone uses, or is its data file."""
        alone = {"max_seq_length", "exp_metadata", "data_config_path", "tuning_strategy", *NOT_READ}
        others = {"dataset_name", "datasets", "use_peft", "finetuning_type", "stage"}
        flat = "model_name_or_path" in document and bool(alone & document.keys()) and not others & document.keys()
        return flat or {"dataprocessor", "datasets"} <= document.keys()

    def read(self, document: Mapping[str, Any], source: str) -> Imported:
        """Read one file: the data file where it has a data processor, else the tuning file."""
        if "dataprocessor" in document:
            return read_data_config(document, source)
        return read_tuning(document, source)

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Write all four files; the launch command passes the tuning file's settings as flags."""
        writing = Writing(ir)
        accelerate = _write_accelerate(writing)
        compute = {key: writing.take(f"compute.{key}") for key in _COMPUTE}
        data = write_data_config(writing)
        write_tuning(writing)
        files = {
            TUNING_FILE: writing.document,
            DATA_FILE: data,
            ACCELERATE_FILE: accelerate,
            COMPUTE_FILE: {key: value for key, value in compute.items() if value is not None},
        }
        words = launch_words(ir, writing.document, bool(data))
        return Exported(files, words, writing.finish("fms-hf-tuning", NOT_WRITTEN))


def read_files(
    tuning: File | None = None, data: File | None = None, accelerate: File | None = None, compute: File | None = None
) -> Imported:
    """Read fms-hf-tuning's four files into one document; each may be left out, and is a path or a document.

    The data file decides about rows, the tuning file about all else, over what accelerate's and the compute file say.
    What was decided against is unmapped.

    Raises:
        UserError: a file cannot be read, or holds values that cannot be used; all of these, with file and key.
    """
    readers: tuple[tuple[str, File | None, Callable[[Mapping[str, Any], str], Imported]], ...] = (
        ("accelerate config", accelerate, AccelerateAdapter().read),
        ("compute config", compute, _read_compute),
        ("tuning config", tuning, read_tuning),
        ("data config", data, read_data_config),
    )
    imports: list[Imported] = []
    problems: list[Problem] = []
    for role, file, reader in readers:
        if file is None:
            continue
        document, source = (file, role) if isinstance(file, Mapping) else (read_document(str(file)), f"file {file}")
        try:
            imports.append(reader(document, source))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return _joined(imports)


def _joined(imports: Sequence[Imported]) -> Imported:
    """Merge what several files say; where they differ, the later one counts."""
    ir, lost = IR(), [unmapped for imported in imports for unmapped in imported.unmapped]
    for imported in imports:
        if imported.ir.get("data.data_formatter_template"):
            # beside a template in the data file, the text field of the tuning file is the column that it fills
            ir = ir.merge({"data": {"dataset_text_field": None}}, "")
        if imported.ir.get("data.datasets") and (paths := ir.get("data.training_data_path")) is not None:
            lost.append(Unmapped("data.training_data_path", paths, "the data config names the rows"))
            ir = ir.merge({"data": {"training_data_path": None}}, "")
        for path, value in leaves(imported.ir.values):
            if ir.get(path) not in (None, value):
                lost.append(Unmapped(path, ir.get(path), f"{imported.ir.sources[path]} says {value!r}"))
        for source in imported.ir.sources.values():
            ir = ir.merge(imported.ir.values, source)
            break
    return _without_wrong_count(ir, lost)


def _without_wrong_count(ir: IR, lost: list[Unmapped]) -> Imported:
    """Let the compute file decide about the processes where accelerate's file says something else."""
    gpus, nodes = ir.get("compute.num_gpus_per_node"), ir.get("compute.num_nodes", 1)
    processes = ir.get("compute.num_processes")
    if gpus is not None and processes not in (None, max(1, gpus * nodes)):
        why = f"the compute config says {nodes} x {gpus}"
        lost.append(Unmapped("compute.num_processes", processes, why))
        ir = ir.merge({"compute": {"num_processes": None}}, "")
    return Imported(ir, tuple(lost))


def _read_compute(document: Mapping[str, Any], source: str) -> Imported:
    reading = Reading(document, source)
    for name in _COMPUTE:
        reading.carry(Row(name, f"compute.{name}"))
    return reading.finish({}, "is not in fms-hf-tuning's compute file")


def _write_accelerate(writing: Writing) -> Mapping[str, Any]:
    """Write accelerate's file, and count as dealt with what it holds; the precision is the tuning file's too."""
    exported = AccelerateAdapter().write(writing.ir)
    lost = [unmapped for unmapped in exported.unmapped if unmapped.key.startswith("accelerate.")]
    writing.unmapped += lost
    for path in ("accelerate", "compute.num_processes"):
        writing.take(path)
    (document,) = exported.files.values()
    assert isinstance(document, Mapping)
    return document


def launch_words(ir: IR, tuning: Mapping[str, Any], has_data: bool, placed: Callable[[str], str] = str) -> list[str]:
    """Return the command of fms-hf-tuning, whose module has our module's name; `placed` says where its files are."""
    words = [*accelerate_launch(ir, placed(ACCELERATE_FILE)), "-m", "tuning.sft_trainer"]
    for key, value in tuning.items():
        words += [f"--{key}", *_flag_words(value)]
    return [*words, "--data_config_path", placed(DATA_FILE)] if has_data else words


def _flag_words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [word for item in value for word in _flag_words(item)]
    if isinstance(value, str):
        return [value]
    return [json.dumps(value)]
