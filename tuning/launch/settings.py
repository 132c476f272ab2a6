"""What accelerate's launcher is told: its own file, written from the document of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.adapters.documents import render
from tuning.recommender.adapters.launch import mixed_precision, num_machines, num_processes

_FILE = "accelerate.yaml"
_ALONE = (None, "NO", "MULTI_CPU", "MULTI_GPU")
"""Ways to spread a run that change nothing where there is one process."""


def launcher_words(document: IR, folder: Path) -> list[str]:
    """Return the words before the module to run: Python alone, or accelerate's launcher with its file in a folder."""
    if num_processes(document) == 1 and document.get("accelerate.distributed_type") in _ALONE:
        return [sys.executable]
    file = folder / _FILE
    file.write_text(render(file.name, launcher_settings(document)), encoding="utf-8")
    return [sys.executable, "-m", "tuning.launch.launcher", "--config_file", str(file)]


def launcher_settings(document: IR) -> dict[str, Any]:
    """Return accelerate's settings: those of the document, and those that it cannot do without.

    On one machine it finds a free port by itself.
    """
    given = {key: value for key, value in (document.get("accelerate") or {}).items() if value is not None}
    machines = num_machines(document)
    settings = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "main_process_port": 0 if machines == 1 else None,
        **given,
        "num_machines": machines,
        "num_processes": num_processes(document),
        "mixed_precision": mixed_precision(document) or "no",
    }
    if machines > 1 and settings["distributed_type"] == "DEEPSPEED":  # its other launchers log in to the machines
        launcher = {"deepspeed_multinode_launcher": "standard"}
        settings["deepspeed_config"] = {**launcher, **(settings.get("deepspeed_config") or {})}
    return {key: value for key, value in settings.items() if value is not None}
