"""The recommender between the four files of fms-hf-tuning: read, completed, and written again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from tuning.config.command_line import parse_command_line
from tuning.config.ir import IR
from tuning.config.loading import load_ir
from tuning.errors import UserError
from tuning.recommender.adapters.documents import render
from tuning.recommender.adapters.fms import FmsAdapter, read_files
from tuning.recommender.adapters.launch import shell_line
from tuning.recommender.completion import Completed, checked

LAUNCH_FILE = "launch.sh"


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
    """Return the texts of the four files by name, and of a script that starts the run in their folder."""
    exported = FmsAdapter().write(found.ir, found.recommendations)
    _tell(exported.unmapped, "written")
    texts = {name: render(name, content) for name, content in exported.files.items()}
    return {**texts, LAUNCH_FILE: f"#!/bin/sh\n# Run it in this folder.\n{shell_line(exported.launch_command)}\n"}


def _tell(unmapped: Iterable[object], done: str) -> None:
    for each in unmapped:
        print(f"not {done}: {each}", file=sys.stderr)
