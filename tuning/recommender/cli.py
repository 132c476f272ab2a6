"""`tuning-recommender`: show, and write if asked, what the trainer would fill in for a command line."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_SUCCESS, EXIT_USER_ERROR, TuningError, UserError
from tuning.recommender.completion import Completed, completed, given_document
from tuning.recommender.own_flags import NOTHING, SETTINGS, take_flags
from tuning.recommender.views import as_format, check_format, diff, diff_text, explain, explanations, report, summary

CONFIG_FILE = "config.json"
RECOMMENDATIONS_FILE = "recommendations.json"
FOUR_FILES = {
    "--tuning-config": "tuning",
    "--tuning-data-config": "data",
    "--accelerate-config": "accelerate",
    "--compute-config": "compute",
}
"""Flags for the files of fms-hf-tuning, and what each is for."""
FLAGS = {
    "--explain": NOTHING,
    "--diff": NOTHING,
    "--what-if": SETTINGS,
    "--format": "table, json or yaml",
    "--output-dir": "a folder",
    "--rules-dir": "a folder",
    **dict.fromkeys(FOUR_FILES, "a file"),
}
USAGE = """usage: tuning-recommender [FILE] [key=value …] [--key value …] [--explain] [--diff] [--what-if key=value …]
                          [--format table|json|yaml] [--output-dir DIR] [--rules-dir DIR]
       tuning-recommender [--tuning-config FILE] [--tuning-data-config FILE] [--accelerate-config FILE]
                          [--compute-config FILE] [key=value …] [the same flags]

Fill in what a configuration leaves out and say why. FILE and keys are those of the trainer, whose --help lists them.
The second form reads the four files of fms-hf-tuning, each YAML or JSON. `tune recommend` is the same command.

  --explain         each value with its reason, level, kind, source and the inputs that it rests on
  --diff            what is filled in, as a JSON patch (RFC 6902) with comments
  --what-if …       what changes on another machine: fields of compute, as in gpus=8 gpu_memory_gib=80
  --format FORM     table (for people), json or yaml
  --output-dir DIR  write config.json, which the trainer takes, and recommendations.json to this folder; of four files
                    also those four, and launch.sh
  --rules-dir DIR   add the rules of this folder's Python files, named Custom_…; they run as code

Exit codes: 0; 1 for something in the input that you can mend; 203 for a fault of ours.
"""

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for the user's input, 203 for an internal fault."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    return exit_code_of(_recommend, argv)


def exit_code_of(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command; an error ends it with one message on standard error and the error's own exit code."""
    try:
        return command(argv)
    except TuningError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OverflowError as error:
        print(f"a number in the configuration is too large to be worked with: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; nothing more can be written, at the exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SUCCESS
    except Exception as error:
        logger.exception("internal fault")
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_INTERNAL_ERROR


def with_rules_dir(words: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """Put a `--rules-dir` that was given back as the field that it stands for."""
    return [*words, *([f"recommender.rules_dir={given['--rules-dir']}"] if "--rules-dir" in given else [])]


def _recommend(argv: Sequence[str]) -> int:
    words, given = take_flags(argv, FLAGS)
    words, form = with_rules_dir(words, given), given.get("--format", "table")
    check_format(form)
    files = {role: given[flag] for flag, role in FOUR_FILES.items() if flag in given}
    found = completed(_four_files().read_four(files, words) if files else given_document(words))
    print(_shown(found, given, form))
    if "--output-dir" in given:
        texts = _four_files().four_files(found) if files else {CONFIG_FILE: config_text(found)}
        folder = Path(given["--output-dir"]).expanduser()
        written = write_texts(folder, {**texts, RECOMMENDATIONS_FILE: reasons_text(found)})
        print(f"\nWritten: {', '.join(map(str, written))}", file=sys.stdout if form == "table" else sys.stderr)
    return EXIT_SUCCESS


def _four_files() -> ModuleType:
    from tuning.recommender import four_files  # with the adapters that it needs, which few calls do

    return four_files


def _shown(found: Completed, given: Mapping[str, Any], form: str) -> str:
    """Write the views that were asked for; of several, each under its name."""
    views: dict[str, tuple[Any, str]] = {}
    if "--explain" in given:
        explained = explanations(found)
        views["values"] = explained, explain(explained)
    if "--diff" in given:
        operations = diff(found)
        views["patch"] = operations, diff_text(operations)
    if "--what-if" in given:
        views["what_if"] = _what_if(found, given["--what-if"])
    if not views:
        views["summary"] = summary(found), report(found.ir, found.recommendations)
    documents = {name: document for name, (document, _) in views.items()}
    table = "\n\n".join(text for _, text in views.values())
    return as_format(documents if len(views) > 1 else next(iter(documents.values())), table, form)


def _what_if(found: Completed, words: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    from tuning.recommender.what_if import differences, elsewhere, side_by_side

    changes = differences(found, elsewhere(found, words))
    return [asdict(change) for change in changes], side_by_side(changes, words)


def config_text(found: Completed) -> str:
    """Write the completed configuration as a JSON file that the trainer takes."""
    values = summary(found)["config"]
    return f"{json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False)}\n"


def reasons_text(found: Completed) -> str:
    """Write the recommendations as a JSON file."""
    reasons = summary(found)["recommendations"]
    return f"{json.dumps(reasons, indent=2, ensure_ascii=False, allow_nan=False)}\n"


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by file name to a folder, which is made where it is missing.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output-dir: {folder} cannot be written: {error.strerror or error}") from error
    return [folder / name for name in texts]


if __name__ == "__main__":
    sys.exit(main())
