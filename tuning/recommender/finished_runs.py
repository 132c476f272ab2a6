"""Finished runs as the recommender sees them: what each was made of, and the held-out loss that it reached."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuning.config.ir import IR
from tuning.config.sections import Data
from tuning.data.formats import recognise
from tuning.errors import ConfigError, DataError, Problem
from tuning.recommender.model_facts import ModelFacts, read_model
from tuning.recommender.model_files import load_json
from tuning.recommender.run_records import CONFIG_FILE, EVENTS_FILE, NotARunError, RunRecord, read_record, section
from tuning.recommender.values import is_ia3, is_lora, is_prompt_tuning, number, whole

DEEPEST_FOLDERS = 4
"""Levels below a folder of history that are looked into."""
MOST_RUNS = 1_000
_NO_RUNS_INSIDE = (".", "checkpoint-", "tracking", "wandb", "mlruns", "node_modules", "__pycache__", "venv")
_SAME = (
    *("data.data_formatter_template", "data.response_template", "data.validation_fraction"),
    *("model.chat_template", "model.train_from_scratch", "peft.lora_alpha", "peft.lora_dropout"),
    *("peft.peft_method", "peft.target_modules", "peft.use_rslora", "training.lr_scheduler_type"),
    *("training.max_length", "training.max_steps", "training.num_train_epochs", "training.optim"),
    *("training.packing", "training.warmup_steps", "training.weight_decay"),
)
"""What must be equal, beside the model and the rows, for two held-out losses to tell two values apart."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended well; two of the same `setup` differ in learning rate and rank, and in nothing else that counts.

    `method` is `lora`, `full` or `scratch`, as the learning rate's rules tell them apart.
    """

    name: str
    run_id: str
    setup: str
    model_type: str
    num_parameters: int
    method: str
    data_format: str
    num_rows: int
    sequences_per_update: int
    learning_rate: float
    r: int | None
    lora_alpha: float | None
    eval_loss: float


def load_history(ir: IR) -> tuple[FinishedRun, ...]:
    """Read the finished runs at and below the folders that the document names, in the order of their paths.

    The document's own run folder is left out: a run that goes on is no evidence for itself.

    Raises:
        ConfigError: a folder of history is none.
    """
    folders = ir.get("recommender.history")
    if not isinstance(folders, list):
        return ()
    own = Path(os.path.expanduser(str(ir.get("training.output_dir", "")))).resolve()
    found = sorted({run for folder in folders for run in _run_folders(str(folder), ir)} - {own})
    if len(found) > MOST_RUNS:
        logger.warning("recommender.history: %d of %d runs are looked at", MOST_RUNS, len(found))
    return tuple(run for folder in found[:MOST_RUNS] if (run := _load(folder)) is not None)


def read_run(folder: Path) -> FinishedRun:
    """Read one run folder.

    Raises:
        NotARunError: it holds no finished run with a held-out loss.
    """
    record = read_record(folder)
    document = IR(record.values)
    data = section(section(record.params, "data"), "training")
    model = _model_of(record)
    return FinishedRun(
        name=record.name or folder.name,
        run_id=record.run_id,
        setup=_setup(document, record),
        model_type=_known(model.model_type, "its model is not there any more"),
        num_parameters=_known(model.num_parameters, "the size of its model is not known"),
        method=method_of(document),
        data_format=_format(document, data),
        num_rows=_known(whole(IR(data), "rows"), "its number of rows is not recorded"),
        sequences_per_update=_sequences(document, record),
        learning_rate=_known(number(document, "training.learning_rate"), "its learning rate is not recorded"),
        r=whole(document, "peft.r"),
        lora_alpha=number(document, "peft.lora_alpha"),
        eval_loss=_known(record.eval_loss, "it measured no held-out loss"),
    )


def method_of(ir: IR) -> str:
    """Name what a document trains, as learning rates are told apart: lora, full, pt, ia3 or scratch."""
    if ir.get("model.train_from_scratch") is True:
        return "scratch"
    return "lora" if is_lora(ir) else "pt" if is_prompt_tuning(ir) else "ia3" if is_ia3(ir) else "full"


def _load(folder: Path) -> FinishedRun | None:
    try:
        return read_run(folder)
    except NotARunError as error:
        logger.info("recommender.history: %s is left out: %s", folder, error)
    except Exception as error:  # a folder that somebody else wrote must not end this run
        logger.warning("recommender.history: %s is left out: %s", folder, type(error).__name__)
    return None


def _run_folders(folder: str, ir: IR) -> Iterator[Path]:
    root = Path(os.path.expanduser(folder)).resolve()
    if not root.is_dir():
        source = next((where for path, where in ir.sources.items() if path.startswith("recommender.history")), None)
        raise ConfigError([Problem("recommender.history", "there is no such folder", folder, source)])
    for here, inner, _ in os.walk(root):
        depth = len(Path(here).relative_to(root).parts)
        kept = sorted(name for name in inner if not name.startswith(_NO_RUNS_INSIDE))
        inner[:] = kept if depth < DEEPEST_FOLDERS else []
        if (Path(here) / EVENTS_FILE).is_file():
            yield Path(here)


def _model_of(record: RunRecord) -> ModelFacts:
    """Read the base model's facts where it stood, and its size as the run counted it."""
    model = section(record.params, "model")
    folder = Path(str(model.get("path") or section(record.values, "model").get("model_name_or_path")))
    facts = read_model(load_json(folder / CONFIG_FILE) or {}, folder)
    counted = whole(IR(model), "num_parameters")
    return ModelFacts(model_type=facts.model_type, num_parameters=counted or facts.num_parameters)


def _format(document: IR, data: Mapping[str, Any]) -> str:
    known = {key: value for key, value in section(document.values, "data").items() if key in Data.model_fields}
    try:
        return recognise(list(section(data, "columns")), Data.model_validate(known))
    except (DataError, ValidationError) as error:
        raise NotARunError("the format of its rows is not known") from error


def _sequences(document: IR, record: RunRecord) -> int:
    rows = whole(document, "training.per_device_train_batch_size")
    passes = whole(document, "training.gradient_accumulation_steps") or 1
    launched = section(section(record.params, "environment"), "variables").get("WORLD_SIZE")
    processes = int(str(launched)) if str(launched).isdigit() else whole(document, "compute.num_processes") or 1
    return _known(rows, "its batch is not recorded") * passes * processes


def _setup(document: IR, record: RunRecord) -> str:
    """Write down what two runs must share: model, rows, and every setting in `_SAME`."""
    model, data = section(record.params, "model"), section(record.params, "data")
    rows = [_known(section(data, "training").get("sha256"), "its rows are not recorded")]
    rows += [section(data, "validation").get("sha256")]
    seed = document.get("training.seed") if document.get("data.validation_fraction") else None
    same = [document.get(path) for path in _SAME]
    return json.dumps([model.get("sha256"), rows, seed, _sequences(document, record), same], sort_keys=True)


def _known(value: Any, otherwise: str) -> Any:
    if value is None or (isinstance(value, float) and not (math.isfinite(value) and value > 0)):
        raise NotARunError(otherwise)
    return value
