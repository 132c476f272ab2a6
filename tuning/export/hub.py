"""Send an export to the Hub, or list what would be sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuning.errors import UserError
from tuning.export.exporter import EXPORT_FILE

_KEPT = (EXPORT_FILE,)
"""Files that stay here: they name folders of this machine."""
_WHERE_A_TOKEN_IS = "set HF_TOKEN, or run: hf auth login"


@dataclass(frozen=True)
class Push:
    """Where an export is sent; `dry_run`: it is only told what would be."""

    hub_repo: str
    dry_run: bool = False


def refuse_push(push: Push) -> None:
    """Refuse what cannot be sent, before anything is exported, and without asking the Hub.

    Raises:
        UserError: the name is none, there is no token, or the Hub is not to be asked.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(push.hub_repo)
    except ValueError as error:
        raise UserError(f"--hub_repo: '{push.hub_repo}' is no name of a repository: {error}") from error
    if push.dry_run:
        return
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError("--push_to_hub: HF_HUB_OFFLINE is set; unset it, or take --dry_run")
    if get_token() is None:
        raise UserError(f"--push_to_hub: there is no token for the Hub; {_WHERE_A_TOKEN_IS}")


def refuse_local_base(base: str) -> None:
    """Refuse to send an adapter that names a folder of this machine as its base.

    Raises:
        UserError: it does.
    """
    if Path(base).expanduser().exists():
        raise UserError(f"--push_to_hub: the adapter's base is a folder here, {base}; name it with --base ORG/NAME")


def sent_files(folder: Path) -> Iterator[tuple[str, int]]:
    """List the files of an export that are sent, by name, and their sizes in bytes."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in _KEPT:
            yield name, file.stat().st_size


def push_to_hub(folder: Path, push: Push) -> str:
    """Send an export to a repository, which is made, and private, where there is none; returns its address.

    Raises:
        UserError: the Hub cannot be reached, or refuses; the export stays where it is.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(push.hub_repo, private=True, exist_ok=True)
        done = api.upload_folder(repo_id=push.hub_repo, folder_path=folder, ignore_patterns=list(_KEPT))
    except Exception as error:  # whatever the library that it sends with raises
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(f"--push_to_hub: {push.hub_repo}: {reason}. The export is in {folder}") from error
    return str(done.commit_url)
