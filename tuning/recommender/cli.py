"""`tuning-recommender`: show, and write if asked, what the trainer would fill in for a command line."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuning.config.building import build_config, with_checked_values
from tuning.config.ir import DEFAULT, IR, leaves
from tuning.config.loading import load_ir
from tuning.data.sources import missing_sources
from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_SUCCESS, TuningError, UserError
from tuning.recommender.action import Recommendation
from tuning.recommender.engine import recommend

CONFIG_FILE = "config.json"
RECOMMENDATIONS_FILE = "recommendations.json"
USAGE = """usage: tuning-recommender [FILE] [key=value …] [--key value …] [--output-dir DIR]

Fill in what a configuration leaves out and say why. FILE and keys are those of the trainer, whose --help lists them.

  --output-dir DIR  write config.json, which the trainer takes, and recommendations.json to this folder
"""

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for the user's input, 203 for an internal fault."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    try:
        words, output_dir = _take_output_dir(argv)
        ir, recommendations = _recommend(words)
        print(report(ir, recommendations))
        if output_dir is not None:
            _write(output_dir, ir, recommendations)
    except TuningError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except Exception as error:
        logger.exception("internal fault")
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_INTERNAL_ERROR
    return EXIT_SUCCESS


def report(ir: IR, recommendations: Sequence[Recommendation]) -> str:
    """Write a table of value, action and comment, and below it what the user's own values kept out."""
    rows = [
        (f"{path} = {json.dumps(value)}", made.action, made.comment)
        for made in recommendations
        for path, value in leaves(made.patch)
    ]
    rows += [("(nothing to fill in)", made.action, made.comment) for made in recommendations if _only_warns(made)]
    declined = [str(declined) for made in recommendations for declined in made.declined]
    lines = list(_table(rows)) if rows else ["Nothing to fill in."]
    return "\n".join([*lines, *(["", "Yours, and kept:"] if declined else []), *(f"  {advice}" for advice in declined)])


def _recommend(argv: Sequence[str]) -> tuple[IR, list[Recommendation]]:
    """Read, check and complete a command line.

    Raises:
        ConfigError: the configuration is wrong; a run folder may be missing, because nothing runs.
    """
    loaded = load_ir(argv)
    for notice in loaded.notices:
        print(notice, file=sys.stderr)
    somewhere = {} if loaded.ir.get("training.output_dir") else {"training": {"output_dir": "."}}
    config = build_config(loaded.ir.merge(somewhere, DEFAULT), (missing_sources,), loaded.problems)
    return recommend(with_checked_values(loaded.ir, config))


def _take_output_dir(argv: Sequence[str]) -> tuple[list[str], Path | None]:
    """Take `--output-dir` out; `--output_dir`, with an underscore, is the trainer's run folder."""
    words, folder = list(argv), None
    while (
        index := next((i for i, word in enumerate(words) if word.split("=")[0] == "--output-dir"), None)
    ) is not None:
        word = words.pop(index)
        if "=" in word:
            folder = word.partition("=")[2]
        elif index < len(words) and not words[index].startswith("--"):
            folder = words.pop(index)
        else:
            raise UserError("--output-dir: expected a folder after it")
    return words, Path(folder).expanduser() if folder else None


def _write(folder: Path, ir: IR, recommendations: Sequence[Recommendation]) -> None:
    """Write both files.

    Raises:
        UserError: the folder cannot be written.
    """
    documents: dict[str, Any] = {
        CONFIG_FILE: ir.values,
        RECOMMENDATIONS_FILE: [made.to_dict() for made in recommendations],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, document in documents.items():
            text = json.dumps(document, indent=2, ensure_ascii=False, sort_keys=name == CONFIG_FILE, allow_nan=False)
            (folder / name).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output-dir: {folder} cannot be written: {error.strerror or error}") from error
    print(f"\nWritten: {folder / CONFIG_FILE}, {folder / RECOMMENDATIONS_FILE}")


def _only_warns(made: Recommendation) -> bool:
    return not made.patch and not made.declined


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    header = ("value", "action", "comment")
    first, second = (max(len(row[column]) for row in (header, *rows)) for column in (0, 1))
    width = max(40, shutil.get_terminal_size((160, 24)).columns - first - second - 4)
    for value, action, comment in (header, *rows):
        lines = textwrap.wrap(comment, width) or [""]
        yield f"{value:<{first}}  {action:<{second}}  {lines[0]}"
        yield from (" " * (first + second + 4) + line for line in lines[1:])
