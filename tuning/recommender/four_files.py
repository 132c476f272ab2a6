"""The recommender between the four files of fms-hf-tuning: read, completed, and written again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from tuning.config.command_line import parse_command_line
from tuning.config.ir import IR
from tuning.config.loading import load_ir
from tuning.errors import UserError
from tuning.recommender.adapters.documents import render
from tuning.recommender.adapters.fms import (
    ACCELERATE_FILE,
    DATA_FILE,
    TUNING_FILE,
    FmsAdapter,
    launch_words,
    read_files,
)
from tuning.recommender.adapters.launch import Expanded, launch_command, num_processes, shell_line
from tuning.recommender.adapters.native import CONFIG_FILE, NativeAdapter
from tuning.recommender.completion import Completed, checked

LAUNCH_FILE, FMS_LAUNCH_FILE = "launch.sh", "launch-fms-hf-tuning.sh"


def read_four(files: Mapping[str, str], words: Sequence[str] = ()) -> IR:
    """Read and check the four files, each of which may be missing; `words` are settings that win over them.

    `files` holds paths under `tuning`, `data`, `accelerate` and `compute`. What could not be mapped goes to standard
    error.

    Raises:
        UserError: a file cannot be read, or the document that they make is wrong.
    """
    if (other := parse_command_line(words).config_path) is not None:
        raise UserError(f"{other}: a configuration of ours is read alone, without files of fms-hf-tuning")
    imported, loaded = read_files(**files), load_ir(words, environ={})
    _tell(imported.unmapped, "read")
    return checked(imported.ir.merge(loaded.ir.values, "command line"), loaded.problems)


def four_files(found: Completed) -> dict[str, str]:
    """Return texts by file name: fms-hf-tuning's four files, our own document, and a script that starts each."""
    exported, own = FmsAdapter().write(found.ir, found.recommendations), NativeAdapter().write(found.ir)
    _tell(exported.unmapped, "written for fms-hf-tuning")
    tuning, data = exported.files[TUNING_FILE], exported.files[DATA_FILE]
    assert isinstance(tuning, Mapping)
    if found.ir.get("training.output_dir") is None:
        print(f"no run folder is named; name one where it is started: {LAUNCH_FILE} output_dir=RUN", file=sys.stderr)
    spread = _beside(ACCELERATE_FILE) if num_processes(found.ir) > 1 else None
    scripts = {
        LAUNCH_FILE: _script(launch_command(found.ir, _beside(CONFIG_FILE), spread), "Train with this package."),
        FMS_LAUNCH_FILE: _script(launch_words(found.ir, tuning, bool(data), _beside), "Train with fms-hf-tuning."),
    }
    return {**{name: render(name, content) for name, content in {**exported.files, **own.files}.items()}, **scripts}


def _beside(name: str) -> Expanded:
    """Return the path of a file in the folder that a script is in."""
    return Expanded(f"$here/{name}")


def _script(words: Sequence[str], what: str) -> str:
    place = "Run it from the folder where these files were made: relative paths in them start there."
    return f'#!/bin/sh\n# {what} {place}\nhere=$(dirname -- "$0")\nexec {shell_line(words)} "$@"\n'


def _tell(unmapped: Iterable[object], done: str) -> None:
    for each in unmapped:
        print(f"not {done}: {each}", file=sys.stderr)
