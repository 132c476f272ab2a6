"""`--nproc N`: start a recipe in several processes of this machine, with accelerate's launcher."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tuning.config.ir import IR
from tuning.errors import UserError
from tuning.recipes import Recipe
from tuning.recommender.adapters.documents import render
from tuning.recommender.adapters.launch import accelerate_launch


def launch(name: str, recipe: Recipe, words: Sequence[str], nproc: str) -> int:
    """Check the configuration once, then run the recipe in `nproc` processes; returns the launcher's exit code.

    Every process completes the configuration for itself: recommendations are the same for the same input.

    Raises:
        UserError: the number or the configuration is wrong, or the recipe cannot run in several processes.
    """
    if not nproc.isdigit() or int(nproc) < 1:
        raise UserError(f"--nproc: expected a whole number, at least 1, got {nproc!r}")
    if recipe.params is not None:
        raise UserError(f"--nproc: recipe {recipe.name} has params of its own and runs in one process")
    if "WORLD_SIZE" in os.environ:
        raise UserError("--nproc: a launcher has started this process already; leave --nproc out")
    from tuning.job import load_config

    words = [*words, f"compute.num_processes={nproc}"]
    document = load_config(words, recipe.document(), recipe.name).document
    with tempfile.TemporaryDirectory(prefix="tune-launch-") as folder:
        command = [*launcher_words(document, Path(folder)), "-m", "tuning.cli", name, *words]
        return subprocess.run(command, check=False).returncode


def launcher_words(document: IR, folder: Path) -> list[str]:
    """Return the words that start accelerate's launcher; its settings are written to a file where there are any."""
    settings = dict(document.get("accelerate") or {})
    file = None
    if settings:
        file = folder / "accelerate.yaml"
        settings["num_processes"] = document.get("compute.num_processes")
        file.write_text(render(file.name, settings), encoding="utf-8")
    words = accelerate_launch(document, None if file is None else str(file))[2:]
    return [sys.executable, "-m", "accelerate.commands.launch", *words, "--main_process_port", str(_free_port())]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
