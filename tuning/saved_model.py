"""Load a model that was saved, or an adapter with the base that it names."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.acceleration.bitsandbytes_plugin import PATH as BITSANDBYTES
from tuning.acceleration.stanzas import parted
from tuning.config.schema import TuningConfig
from tuning.errors import UserError, reason_of
from tuning.manifest import MANIFEST_FILE, run_of
from tuning.model import load_model
from tuning.tokenizer import ADDED_TOKENS_FILE, Additions, has_tokenizer, load_tokenizer
from tuning.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, holds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedModel:
    """Where the parts of a saved model are: the base, the adapter on it if any, and the tokenizer."""

    base: str
    adapter: Path | None
    tokenizer: str

    def settings(self) -> dict[str, Any]:
        """Return the fields of the model section that load it."""
        return {"model_name_or_path": self.base, "tokenizer_name_or_path": self.tokenizer, "train_from_scratch": False}


def find_model(name: str, base: str | None = None) -> SavedModel:
    """Tell the parts of a model's folder or Hub id; `base` replaces the base that an adapter names.

    Raises:
        UserError: an adapter is not whole, or its base is not there.
    """
    folder = Path(os.path.expanduser(name))
    if not (folder / ADAPTER_CONFIG).is_file():
        return SavedModel(str(folder) if folder.is_dir() else name, None, str(folder) if folder.is_dir() else name)
    named = base or _base_of(folder)
    if not holds(folder, ADAPTER_WEIGHTS):
        raise UserError(f"{folder}: the adapter has no {ADAPTER_WEIGHTS[0]}; pickled weights are not loaded")
    if named.startswith((".", "/", "~")) and not Path(os.path.expanduser(named)).is_dir():
        raise UserError(f"{folder}: the adapter's base is not there: {named}. Name it with --base")
    return SavedModel(named, folder, str(folder) if has_tokenizer(folder) else named)


def load_saved(config: TuningConfig, adapter: Path | None) -> tuple[Any, Any]:
    """Load what the model section names, with an adapter on it; returns the model and the tokenizer.

    Raises:
        UserError: one of them cannot be loaded.
    """
    tokenizer, additions = load_tokenizer(config)
    return load_with_adapter(config, adapter, tokenizer, additions), tokenizer


def load_with_adapter(config: TuningConfig, adapter: Path | None, tokenizer: Any, additions: Additions) -> Any:
    """Load the base, grown as it was when the adapter was trained, and the adapter.

    Raises:
        UserError: one of them cannot be loaded, or they do not fit.
    """
    model: Any = load_model(config, tokenizer, additions)
    if adapter is None:
        return model
    from peft import PeftModel

    size = _embedding_size(adapter)
    if size is not None and size != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(size)
    try:
        with warnings.catch_warnings():  # PEFT asks transformers for a name that it has retired
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            warnings.filterwarnings("error", message="Found missing adapter keys")  # they would be random
            return PeftModel.from_pretrained(model, str(adapter), use_safetensors=True)
    except Exception as error:  # what libraries raise on a file that is wrong may be of any type
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise
        told = f"the adapter cannot be loaded on {config.model.model_name_or_path}: {reason_of(error)}"
        raise UserError(f"{adapter}: {told}") from error


def quantizing_sections(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that quantize the base of adapters as their training did; empty where it did not."""
    fields, acceleration = (document.get(name) or {} for name in ("quantization", "acceleration"))
    adapters = {"peft_method": "lora"}  # whatever they are: what quantized weights are loaded for
    if fields.get("load_in_4bit") or fields.get("load_in_8bit"):
        return {"quantization": fields, "peft": adapters}
    stanza = parted(acceleration.get("plugins") or {}, {BITSANDBYTES}).given.get(BITSANDBYTES)
    if stanza is None or acceleration.get("use_acceleration") is False:
        return {}
    # Without the package the base would be another one, so that its absence is an error.
    return {"acceleration": {"plugins": {BITSANDBYTES: stanza}, "strict_plugins": True}, "peft": adapters}


def _base_of(folder: Path) -> str:
    document = read_json(folder / ADAPTER_CONFIG)
    base = document.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"{folder / ADAPTER_CONFIG}: names no base_model_name_or_path. Name the base with --base")
    return base if Path(os.path.expanduser(base)).is_dir() else _as_the_run_saw_it(folder, base)


def _as_the_run_saw_it(folder: Path, base: str) -> str:
    """Find a folder that the run of an adapter named from where it was started; else return what it named."""
    run_folder = run_of(folder)
    environment = read_json(run_folder / MANIFEST_FILE).get("environment") if run_folder is not None else None
    started_in = environment.get("working_directory") if isinstance(environment, Mapping) else None
    found = Path(str(started_in)) / base
    return str(found) if started_in and found.is_dir() else base


def _embedding_size(folder: Path) -> int | None:
    if not (folder / ADDED_TOKENS_FILE).is_file():
        return None
    size = read_json(folder / ADDED_TOKENS_FILE).get("new_embedding_size")
    return size if isinstance(size, int) else None


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: there is none.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file}: there is no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{file}: expected a JSON object")
    return document
