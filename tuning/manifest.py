"""`manifest.json` of a run folder: what the run was made from, where it took place, and what came of it.

It is written when the run starts and again whenever more is known, so that a run that dies leaves one, too. It holds
all that `tune reproduce` needs to run it again, and no secret.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.config.sections import Data, Model
from tuning.errors import UserError
from tuning.fingerprints import data_files, data_fingerprint, model_files, model_fingerprint
from tuning.row_digests import MOST_BLOCKS, row_digests
from tuning.trackers.plain_values import to_plain
from tuning.trackers.redaction import redact
from tuning.whole_files import write_whole

logger = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.json"
VERSION = 1
"""Of the file's layout; a reader refuses a newer one."""

SEEDS = ("training.seed", "training.data_seed", "data.sampling_seed")
_MOST_FILES_DIGESTED = 100
"""Data files whose rows are digested one by one; the others are known by their SHA-256."""


class Manifest:
    """The manifest of a run under way. A manifest that cannot be written is a warning, and the run goes on."""

    def __init__(self, path: Path, content: Mapping[str, Any], enabled: bool = True) -> None:
        self._path = path
        self._content = dict(content)
        self._is_open = enabled
        self._lock = threading.Lock()
        self._write()

    def add(self, name: str, part: Any) -> None:
        """Put in a part that is known now; nothing is put in after the end."""
        with self._lock:
            self._content[name] = redact(to_plain(part))
            self._write()

    def keeping(self, name: str, find: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function that finds something, puts it in under `name`, and returns it."""

        def found() -> Any:
            answer = find()
            self.add(name, answer)
            return answer

        return found

    def complete(self, state: str, error: str | None) -> None:
        """Put in the final state; the file stays as it is from then on."""
        end = {"state": state, "error": redact(error), "ended": now()}
        with self._lock:
            self._content |= end
            self._content["attempts"][-1] |= end
            self._write()
            self._is_open = False

    def _write(self) -> None:
        if not self._is_open:
            return
        text = json.dumps(self._content, indent=1, ensure_ascii=False, default=str)
        try:
            write_whole(self._path, f"{text}\n", "backslashreplace")  # which is JSON's own escape
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)


def create_manifest(folder: Path, document: IR, resumed: bool, enabled: bool = True) -> Manifest:
    """Start the manifest of a run; one that goes on keeps the attempts that came before."""
    path = folder / MANIFEST_FILE
    earlier = _earlier_attempts(path) if resumed else []
    attempt = {"began": now(), "argv": redact(list(sys.argv)), "state": "running"}
    content = {
        "version": VERSION,
        "state": "running",
        "began": attempt["began"],
        "attempts": [*earlier, attempt],
        "seeds": {path.rpartition(".")[2]: document.get(path) for path in SEEDS},
        "config": {"values": redact(to_plain(document.values)), "sources": dict(document.sources)},
    }
    return Manifest(path, content, enabled)


def read_manifest(given: Path) -> dict[str, Any]:
    """Read a manifest, given by its file or by the folder of its run.

    Raises:
        UserError: there is none, or it is not one that this version can read.
    """
    path = given / MANIFEST_FILE if given.is_dir() else given
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}. Give a run's manifest.json.") from error
    except ValueError as error:
        raise UserError(f"'{path}' is no manifest: {error}") from error
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("values"), dict) or "version" not in content:
        raise UserError(f"'{path}' is no manifest of a run. Give the manifest.json of a run folder.")
    if content["version"] != VERSION:
        raise UserError(f"'{path}' has the layout {content['version']}, and this version of tuning reads {VERSION}.")
    return content


def was_interrupted(folder: Path, document: IR) -> bool:
    """Tell whether the last run of a folder was stopped or killed, and was of this document: it is gone on with."""
    try:
        content = read_manifest(folder)
    except UserError:
        return False
    values = json.loads(json.dumps(redact(to_plain(document.values)), default=str))
    return content.get("state") in ("running", "preempted") and content["config"]["values"] == values


def described_data(data: Data, manifest: Manifest) -> dict[str, Any]:
    """Put the fingerprint of the data into the manifest, and digests of its rows; returns the fingerprint alone."""
    found = data_fingerprint(data)
    manifest.add("data", found)
    files = data_files(data)[:_MOST_FILES_DIGESTED]
    each = max(1, MOST_BLOCKS // max(1, len(files)))
    manifest.add("row_digests", {str(file.absolute()): row_digests(file, each) for file in files})
    return found


def described_model(model: Model, manifest: Manifest) -> dict[str, Any]:
    """Put the fingerprint of the base model into the manifest, with all its files; returns the fingerprint alone."""
    files = model_files(model)
    found = model_fingerprint(model, files)
    manifest.add("model", {**found, "files": files})
    return found


def now() -> str:
    """Return the time as ISO 8601 text in UTC, in whole seconds."""
    return datetime.fromtimestamp(int(time.time()), UTC).isoformat()


def _earlier_attempts(path: Path) -> list[dict[str, Any]]:
    try:
        attempts = json.loads(path.read_text(encoding="utf-8"))["attempts"]
        # An attempt that was killed could not say so.
        return [{**one, "state": "killed"} if one["state"] == "running" else one for one in attempts]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def run_of(folder: Path) -> Path | None:
    """Find the run: the folder itself, or that which the model's folder stands in."""
    return next((found for found in (folder, folder.parent) if (found / MANIFEST_FILE).is_file()), None)
