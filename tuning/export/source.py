"""Find what is exported: a model or an adapter, and the run that made it, where there is one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.manifest import MANIFEST_FILE, run_of
from tuning.saved_model import SavedModel, find_model, read_json
from tuning.weight_files import ADAPTER_CONFIG

CONFIG_FILE = "config.json"
_MODEL_FOLDER = "model"
_CHECKPOINT = re.compile(r"^checkpoint-\d+$")
_LOADING = ("revision", "cache_dir", "trust_remote_code")


@dataclass(frozen=True)
class Source:
    """A saved model with the contents of its JSON files, and the run that made it."""

    saved: SavedModel
    config: dict[str, Any]
    """`config.json` of the model, of the base where there is an adapter."""
    adapter_config: dict[str, Any] | None = None
    run_folder: Path | None = None
    loading: dict[str, Any] = field(default_factory=dict)
    """`revision`, `cache_dir` and `trust_remote_code` that the run loaded its base with, where it had some."""

    in_parts: Path | None = None
    """The checkpoint in parts that was put together for this; None: it was whole."""

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
        """Name the model for people: by its run, and its step where it is no run's last; else by its folder."""
        name = (self.run_folder or self.weights_folder).resolve().name
        return name if self.checkpoint is None else f"{name}-{self.checkpoint}"

    @property
    def checkpoint(self) -> str | None:
        """Name the checkpoint of a run that this is; None: it is what a run has ended with, or no run's."""
        name = self.weights_folder.resolve().name
        return name if self.run_folder is not None and _CHECKPOINT.match(name) else None

    @property
    def origin(self) -> Path | str:
        """Name what training changed as it stands on the disk, or on the Hub."""
        return self.in_parts or self.saved.adapter or self.saved.base


def find_source(name: str, base: str | None = None, run_folder: Path | None = None) -> Source:
    """Tell the parts of a run's folder, a model's folder or a Hub id; `run_folder` is that of a model that has left it.

    Raises:
        UserError: it is none of them, or not whole.
    """
    folder = Path(name).expanduser()
    run_folder = run_folder or run_of(folder)
    model = folder
    if run_folder is not None and run_folder.resolve() == folder.resolve():
        model = _model_of_run(run_folder)
    elif not folder.is_dir() and name.startswith((".", "/", "~")):
        raise UserError(f"{name}: there is no such folder. Give a run's folder, or a model's")
    found = find_model(str(model) if folder.is_dir() else name, base)
    adapter_config = read_json(found.adapter / ADAPTER_CONFIG) if found.adapter else None
    loading = _loading_of(run_folder, base)
    return Source(found, _config_of(found.base, loading), adapter_config, run_folder, loading)


def values_of_run(run_folder: Path | None) -> dict[str, Any]:
    """Read the sections of a run's configuration; none where there is no run."""
    if run_folder is None or not (run_folder / CONFIG_FILE).is_file():
        return {}
    values = read_json(run_folder / CONFIG_FILE).get("values")
    return values if isinstance(values, dict) else {}


def _loading_of(run_folder: Path | None, base: str | None) -> dict[str, Any]:
    """Read how the run loaded its base; a revision is that of the run's own base, and of no other one."""
    section = values_of_run(run_folder).get("model") or {}
    names = _LOADING if base is None else _LOADING[1:]
    return {name: section[name] for name in names if section.get(name)}


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


def _config_of(base: str, loading: Mapping[str, Any]) -> dict[str, Any]:
    if Path(base).is_dir():
        return read_json(Path(base) / CONFIG_FILE)
    from huggingface_hub import hf_hub_download

    try:
        revision, cache_dir = loading.get("revision"), loading.get("cache_dir")
        return read_json(Path(hf_hub_download(base, CONFIG_FILE, revision=revision, cache_dir=cache_dir)))
    except (OSError, ValueError) as error:  # what huggingface_hub raises is one of the two
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"{base}: it is no folder here, and on the Hub: {reason}") from error
