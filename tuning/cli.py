"""`tune`: everything around a run, from the shell."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tuning import __version__
from tuning.errors import EXIT_SUCCESS, Preempted, TuningError
from tuning.interruption import stop_on_request
from tuning.termination_log import write_termination_log

_HELP = {"-h", "--help"}


class Command(NamedTuple):
    """One word after `tune`: what it does, the function that does it, and a line to try.

    The function is named by `module:function`, and imported when it is called; it takes the words that follow and
    returns an exit code.
    """

    name: str
    target: str
    text: str
    example: str


COMMANDS = (
    Command("run", "tuning.sft_trainer:main", "train", "tune run run.yaml learning_rate=1e-4"),
    Command("validate", "tuning.recipes_cli:validate", "check a configuration", "tune validate run.yaml"),
    Command(
        "recommend", "tuning.recommender.cli:main", "complete it, and say why", "tune recommend run.yaml --explain"
    ),
    Command("plan", "tuning.recommender.plan_cli:main", "say if it fits the memory", "tune plan run.yaml gpus=8"),
    Command("preview", "tuning.preview:main", "show rows as trained on", "tune preview run.yaml"),
    Command("preprocess", "tuning.preprocessing:main", "tokenize rows beforehand", "tune preprocess run.yaml"),
    Command(
        "evaluate",
        "tuning.evaluate_cli:main",
        "measure a saved model",
        "tune evaluate runs/first/model --config runs/first/config.json",
    ),
    Command(
        "generate",
        "tuning.generate_cli:main",
        "let a saved model write",
        'tune generate runs/first/model --prompt "The river"',
    ),
    Command("export", "tuning.export.cli:main", "write for other programs", "tune export runs/first --to gguf"),
    Command(
        "import",
        "tuning.recommender.import_cli:main",
        "read others' configs",
        "tune import axolotl.yaml --output run.yaml",
    ),
    Command("sync", "tuning.trackers.sync:main", "bring trackers up to date", "tune sync runs/first"),
    Command("runs", "tuning.trackers.runs:main", "list runs, with losses", "tune runs runs"),
    Command("compare", "tuning.report.comparison:main", "show how runs differ", "tune compare runs/a runs/b"),
    Command("report", "tuning.report.cli:main", "write the page of a run", "tune report runs/first"),
    Command("reproduce", "tuning.reproduce:main", "run a recorded run again", "tune reproduce runs/first"),
    Command("ls", "tuning.recipes_cli:ls", "list recipes and configs", "tune ls lora_finetune"),
    Command("cat", "tuning.recipes_cli:cat", "print a config", "tune cat quickstart"),
    Command("cp", "tuning.recipes_cli:cp", "copy a config, to change it", "tune cp quickstart my_run.json"),
    Command("doctor", "tuning.doctor.cli:main", "check machine and model", "tune doctor run.yaml"),
    Command("schema", "tuning.schema_cli:main", "schema, for editors", "tune schema --output schema.json"),
    Command("completion", "tuning.completion:main", "have TAB complete words", 'eval "$(tune completion bash)"'),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `tune` command; returns its exit code: 0, 1 for the user's input, others as the command's help says."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look for them in every installed package
    try:
        code = _run(words)
        sys.stdout.flush()  # while it can still be told that nobody reads
        return code
    except (TuningError, Preempted) as error:
        print(error, file=sys.stderr)
        with contextlib.suppress(OSError):
            write_termination_log(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; nothing more can be written, at the exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SUCCESS
    except Exception as error:
        return _ended_by(error)


def help_text() -> str:
    """Write the help: no more than fits a screen of 24 lines and 80 columns."""
    half = (len(COMMANDS) + 1) // 2
    rows = [
        "".join(f"  {command.name:<11}{command.text:<26}" for command in COMMANDS[index::half]).rstrip()
        for index in range(half)
    ]
    usage = (
        "usage: tune RECIPE [--config NAME|FILE] [--nproc N] [--override key=value …]",
        "       tune COMMAND …",
        "",
        "Fine-tune language models. `tune ls` lists recipes and configs; a Python file of",
        "yours is a recipe, too. What a configuration leaves out is recommended.",
        "",
        "  tune lora_finetune --config run.yaml learning_rate=1e-4",
        "",
        "commands (tune COMMAND --help tells more):",
    )
    return "\n".join([*usage, *rows])


def _run(words: list[str]) -> int:
    if not words or words[0] in _HELP:
        print(help_text())
        return EXIT_SUCCESS
    if words[0] == "--version":
        print(f"tuning {__version__}")
        return EXIT_SUCCESS
    return _command(words[0], words[1:])


def _command(name: str, words: list[str]) -> int:
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None or _is_recipe_form(name, words):
        with stop_on_request():
            from tuning.recipes_cli import run_recipe

            return run_recipe(name, words, [each.name for each in COMMANDS])
    if not _HELP & set(words):
        with stop_on_request() if name == "run" else contextlib.nullcontext():
            return _function(command)(words)
    code = _told(command, words)
    print(f"\nexample:\n  {command.example}")
    return code


def _ended_by(fault: Exception) -> int:
    """End as a run does whose own code fails: one line, the traceback in the log, and the exit code 203."""
    from tuning.ending import ended

    def fail() -> None:
        raise fault

    return ended(fail)


def _is_recipe_form(name: str, words: Sequence[str]) -> bool:
    """Tell `tune generate --config FILE`, a recipe, from `tune generate MODEL …`, the command of the same name."""
    return name in ("evaluate", "generate") and bool(words) and words[0].startswith("--config")


def _function(command: Command) -> Callable[[list[str]], int]:
    module, _, name = command.target.partition(":")
    return getattr(importlib.import_module(module), name)


def _told(command: Command, words: list[str]) -> int:
    """Let a command tell its help; argparse ends the program for that."""
    try:
        return _function(command)(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_SUCCESS


if __name__ == "__main__":
    sys.exit(main())
