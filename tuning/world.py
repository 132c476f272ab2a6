"""How many processes this run has, which one this is, and whether that is what was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, Problem

_OF_ACCELERATE = "ACCELERATE_"
"""How the variables begin by which `accelerate launch` tells its processes of its settings."""


def world_size(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes that the launcher started."""
    return _number(environ, "WORLD_SIZE", 1)


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among all, from 0."""
    return _number(environ, "RANK", 0)


def is_first_here(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is the first of its machine, whose log is its own."""
    return _number(environ, "LOCAL_RANK", 0) == 0


def _number(environ: Mapping[str, str], name: str, alone: int) -> int:
    """Read what a launcher has set; what is no number is told by `wrong_world_size`."""
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else alone


def wrong_world_size(config: TuningConfig) -> Iterator[Problem]:
    """Name a world size other than the one asked for; launchers may start fewer processes without a word."""
    for name in ("RANK", "WORLD_SIZE"):
        if not os.environ.get(name, "0").isdecimal():
            yield Problem(name, "expected a whole number, as launchers set it", os.environ[name], "environment")
    path, value, asked = planned(config) or ("compute.num_processes", None, None)
    source = None
    if asked is None or asked == world_size():
        asked, source = launcher_asked_for(_parent_command()), "accelerate launch"
        value = asked
    if asked is not None and asked != world_size():
        expected = f"{asked} processes were asked for, and {world_size()} started"
        otherwise = f"To train with other processes, change {path} and complete the configuration anew."
        yield Problem(path, expected, value, source, f"{how_to_launch(config, asked)} {otherwise}")


def check_world_size(config: TuningConfig, document: IR) -> None:
    """Refuse to train with other processes than the document, or the launcher, asks for.

    Raises:
        ConfigError: names the field, where it was set, and the command to launch with.
    """
    if found := [with_source(problem, document) for problem in wrong_world_size(config)]:
        raise ConfigError(found)


def with_source(problem: Problem, document: IR) -> Problem:
    """Return a problem that tells where the value came from, which the document knows where the problem does not."""
    return replace(problem, source=problem.source or document.sources.get(problem.path, "the configuration"))


def planned(config: TuningConfig) -> tuple[str, int, int] | None:
    """Return the field that says how many processes a document is for, its value, and their number; None: none does.

    The command that the recommender writes for a document goes by the same fields in the same order.
    """
    compute, given = config.compute, config.accelerate.get("num_processes")
    if compute.num_processes is not None:
        return "compute.num_processes", compute.num_processes, compute.num_processes
    if gpus := compute.num_gpus_per_node:
        return "compute.num_gpus_per_node", gpus, gpus * (compute.num_nodes or 1)
    return ("accelerate.num_processes", given, given) if isinstance(given, int) and given > 0 else None


def how_to_launch(config: TuningConfig, asked: int) -> str:
    """Say how to launch so many processes."""
    launch = f"accelerate launch --multi_gpu --num_processes {asked} -m tuning.sft_trainer … (on a CPU: use_cpu=true)"
    if asked == 1:
        launch = "python -m tuning.sft_trainer …"
    elif config.accelerate.get("distributed_type") not in (None, "MULTI_GPU"):
        file = "where FILE is the object accelerate of this configuration, as YAML"
        launch = f"accelerate launch --config_file FILE -m tuning.sft_trainer …, {file}"
    recipe = "" if asked == 1 else f", or with: tune RECIPE … --nproc {asked}"
    return f"Launch with: {launch}{recipe}."


def launcher_asked_for(command: Sequence[str]) -> int | None:
    """Return the number of processes that an `accelerate launch` command asks for; None: it does not say, or is none.

    With `--cpu` and no `--multi_gpu`, accelerate starts one process whatever the number asked for.
    """
    words = list(command)
    if not any(Path(word).name in ("accelerate", "accelerate.commands.launch", "launch.py") for word in words):
        return None
    number = _option(words, "--num_processes") or _option(words, "--num-processes")
    if number is None and (file := _option(words, "--config_file") or _option(words, "--config-file")):
        number = _from_file(Path(file))
    return int(number) if number is not None and str(number).isdecimal() else None


def _option(words: list[str], name: str) -> str | None:
    for index, word in enumerate(words):
        if word == name and index + 1 < len(words):
            return words[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _from_file(file: Path) -> Any:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None  # accelerate itself has read it, and would have refused it
    return document.get("num_processes") if isinstance(document, dict) else None


def _parent_command() -> list[str]:
    """Return the command line of accelerate's launcher, empty where another started this process, or none is seen."""
    if not any(name.startswith(_OF_ACCELERATE) for name in os.environ):
        return []
    import psutil

    try:
        parent = psutil.Process().parent()
        return parent.cmdline() if parent is not None else []
    except psutil.Error:
        return []
