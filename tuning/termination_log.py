"""The file from which Kubernetes reads why a container ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write_termination_log(cause: str, environ: Mapping[str, str] = os.environ) -> None:
    """Write the cause on one line to `TERMINATION_LOG_FILE`, where the environment names one; no cause empties it.

    Raises:
        OSError: the file cannot be written.
    """
    if file := environ.get("TERMINATION_LOG_FILE"):
        line = " ".join(cause.split())
        Path(file).write_text(f"{line}\n" if line else "", encoding="utf-8")
