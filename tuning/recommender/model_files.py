"""Find a model's small files: in its folder, in Hugging Face's cache, or on the Hub for a bounded time."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuning.config.ir import IR

HUB_SECONDS = 20.0
"""Longest wait for one file from the Hub, seconds; after it the file counts as unknown."""
MOST_JSON_BYTES = 16 << 20
"""Largest file that is read as JSON; a larger one counts as unknown. A server reads such files in its own process."""

_TRUE = frozenset({"1", "true", "yes", "on"})


def model_file(ir: IR, file: str) -> Path | None:
    """Find a file of the model; None where there is none."""
    return _find(ir, ir.get("model.model_name_or_path"), file)


def tokenizer_file(ir: IR, file: str) -> Path | None:
    """Find a file of the tokenizer; None where there is none."""
    return _find(ir, ir.get("model.tokenizer_name_or_path") or ir.get("model.model_name_or_path"), file)


def load_json(path: Path | None) -> dict[str, Any] | None:
    """Read an object from a JSON file; None where it cannot be read, because the loader of the model will say so."""
    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_JSON_BYTES + 1)
        document = json.loads(content.decode("utf-8")) if len(content) <= MOST_JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _find(ir: IR, name: Any, file: str) -> Path | None:
    if not isinstance(name, str) or not name:
        return None
    folder = Path(os.path.expanduser(name))
    try:
        if folder.is_dir():
            return folder / file if (folder / file).is_file() else None
    except OSError:  # a name that no file can have
        return None
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return None
    return _hub_file(name, file, ir.get("model.revision"), ir.get("model.cache_dir"))


def _hub_file(name: str, file: str, revision: str | None, cache_dir: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, file, cache_dir=cache_dir, revision=revision)
    except ValueError:  # not a name that the Hub could have
        return None
    if isinstance(cached, str):
        return Path(cached)
    if cached is not None or os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        return None
    return _within(HUB_SECONDS, lambda: Path(hf_hub_download(name, file, revision=revision, cache_dir=cache_dir)))


def _within(seconds: float, download: Callable[[], Path]) -> Path | None:
    """Wait a bounded time; a look-up of a host name has no time limit of its own."""
    found: list[Path] = []

    def work() -> None:
        try:
            found.append(download())
        except Exception:  # every failure of the Hub means the same here: unknown
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
