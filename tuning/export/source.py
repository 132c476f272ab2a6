"""Find what is exported: a model or an adapter, and the run that made it, where there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.manifest import MANIFEST_FILE
from tuning.saved_model import SavedModel, find_model

CONFIG_FILE, ADAPTER_CONFIG = "config.json", "adapter_config.json"
_MODEL_FOLDER = "model"


@dataclass(frozen=True)
class Source:
    """A saved model with the contents of its JSON files, and the run that made it."""

    saved: SavedModel
    config: dict[str, Any]
    """`config.json` of the model, of the base where there is an adapter."""
    adapter_config: dict[str, Any] | None = None
    run_folder: Path | None = None

    @property
    def architecture(self) -> str:
        """Name the class of the model."""
        return next(iter(self.config.get("architectures") or ()), "") or "a model without architectures"

    @property
    def weights_folder(self) -> Path:
        """Return the folder that holds what training changed."""
        return self.saved.adapter or Path(self.saved.base)

    @property
    def invocation_tokens(self) -> list[int]:
        """Return the tokens from which on the adapter acts, where it is one of aLoRA; else none."""
        return list((self.adapter_config or {}).get("alora_invocation_tokens") or ())

    @property
    def name(self) -> str:
        """Name the model for people: by its run, else by its folder."""
        return (self.run_folder or self.weights_folder).resolve().name


def find_source(name: str, base: str | None = None) -> Source:
    """Tell the parts of a run's folder, a model's folder or a Hub id.

    Raises:
        UserError: it is none of them, or not whole.
    """
    folder = Path(name).expanduser()
    run_folder = run_of(folder)
    model = folder
    if run_folder is not None and run_folder.resolve() == folder.resolve():
        model = _model_of_run(run_folder)
    elif not folder.is_dir() and name.startswith((".", "/", "~")):
        raise UserError(f"{name}: there is no such folder. Give a run's folder, or a model's")
    found = find_model(str(model) if folder.is_dir() else name, base)
    adapter_config = read_json(found.adapter / ADAPTER_CONFIG) if found.adapter else None
    return Source(found, _config_of(found.base), adapter_config, run_folder)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: there is none.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{file}: expected a JSON object")
    return document


def run_of(folder: Path) -> Path | None:
    """Find the run: the folder itself, or that which the model's folder stands in."""
    return next((found for found in (folder, folder.parent) if (found / MANIFEST_FILE).is_file()), None)


def _model_of_run(run_folder: Path) -> Path:
    """Find the model that a run saved, also where the run has been moved since.

    Raises:
        UserError: the run saved none.
    """
    saved = (read_json(run_folder / MANIFEST_FILE).get("results") or {}).get("model_folder")
    folders = [run_folder / _MODEL_FOLDER, *([Path(saved)] if isinstance(saved, str) else [])]
    for folder in folders:
        if (folder / CONFIG_FILE).is_file() or (folder / ADAPTER_CONFIG).is_file():
            return folder
    raise UserError(f"{run_folder}: the run has saved no model; let it finish, or give a checkpoint's folder")


def _config_of(base: str) -> dict[str, Any]:
    if Path(base).is_dir():
        return read_json(Path(base) / CONFIG_FILE)
    from huggingface_hub import hf_hub_download

    try:
        return read_json(Path(hf_hub_download(base, CONFIG_FILE)))
    except (OSError, ValueError) as error:  # what huggingface_hub raises is one of the two
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{base}: it is no folder here, and on the Hub: {reason}") from error
