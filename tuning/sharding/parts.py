"""Checkpoints in parts, as torch.distributed.checkpoint writes them: read by any number of processes, or by none."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import IO, Any

from tuning.errors import UserError

MODEL_PART, OPTIMIZER_PART = "pytorch_model_fsdp_0", "optimizer_0"
"""Folders of a checkpoint. Source: accelerate 1.15, save_fsdp_model and save_fsdp_optimizer."""
METADATA_FILE = ".metadata"
_HARMLESS = {
    "torch.distributed.checkpoint.metadata": None,
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", "device"},
    "torch.serialization": {"_get_layout"},
    "torch._utils": {"_get_layout"},
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath", "PurePosixPath", "Path"},
    "builtins": {"set", "frozenset", "list", "dict", "tuple"},
}
"""What the pickle that describes the parts may name: module -> its classes; None: all that are defined there."""
_UNREADABLE = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError)
"""What reading a pickle may raise."""


class _Checked(pickle.Unpickler):
    """Reads a pickle that names no other code than the description of parts needs."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _HARMLESS.get(module, frozenset())
        found = "." not in name and (allowed is None or name in allowed)
        if not found and not (module == "torch" and _is_dtype(name)):
            raise pickle.UnpicklingError(f"{METADATA_FILE} names {module}.{name}, which describes no checkpoint")
        return super().find_class(module, name)


def has_parts(checkpoint: Path) -> bool:
    """Tell whether the weights of a checkpoint are in parts."""
    return (checkpoint / MODEL_PART).is_dir()


def check_metadata(checkpoint: Path) -> None:
    """Refuse a description of parts that could run code; torch reads it as a pickle.

    Raises:
        UserError: it is none, or does.
    """
    for part in (MODEL_PART, OPTIMIZER_PART):
        file = checkpoint / part / METADATA_FILE
        if file.parent.is_dir():
            try:
                with file.open("rb") as stream:
                    _read(stream)
            except (OSError, *_UNREADABLE) as error:
                raise UserError(f"{file}: cannot be read: {error}") from error


def load_model_parts(weights: dict[str, Any], checkpoint: Path) -> None:
    """Load the parts of a checkpoint into the memory of weights, which are whole or divided on each process."""
    _load({"model": weights}, checkpoint / MODEL_PART)


def load_optimizer_parts(model: Any, optimizer: Any, checkpoint: Path) -> None:
    """Load the parts of a checkpoint into an optimizer, whole or divided; without any it begins anew."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    if not (checkpoint / OPTIMIZER_PART).is_dir():
        return
    state = {"optimizer": get_optimizer_state_dict(model, optimizer)}
    _load(state, checkpoint / OPTIMIZER_PART)
    set_optimizer_state_dict(model, optimizer, state["optimizer"])


def read_model_parts(checkpoint: Path) -> dict[str, Any]:
    """Read the whole weights of a checkpoint in parts, without a model, in this process alone.

    Raises:
        UserError: they cannot be read, or their description could run code.
    """
    from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

    check_metadata(checkpoint)
    state: dict[str, Any] = {}
    reader = FileSystemReader(str(checkpoint / MODEL_PART))
    _load_state_dict(state, storage_reader=reader, planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return state["model"]


def _load(state: dict[str, Any], folder: Path) -> None:
    from torch.distributed import checkpoint, is_initialized

    with warnings.catch_warnings():  # one process is told that it is one
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        checkpoint.load(state, checkpoint_id=str(folder), no_dist=not is_initialized())


def _read(stream: IO[bytes]) -> Any:
    return _Checked(stream).load()


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)
