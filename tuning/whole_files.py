"""Replace a file in one step, so that a reader never sees half of it."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """Write a text as UTF-8; `errors` says what becomes of half a character, which UTF-8 has no bytes for.

    Raises:
        OSError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode("utf-8", errors))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
