"""`tune`: everything around a run, from the shell."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from tuning.errors import EXIT_SUCCESS, TuningError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `tune` command; returns its exit code: 0, 1 for the user's input, others as the command's help says."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    asked, rest = parser.parse_known_args(words)
    if asked.command is None:
        parser.print_help()
        return EXIT_SUCCESS
    try:
        return asked.run(rest)
    except TuningError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; nothing more can be written, at the exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SUCCESS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tune", description="Everything around a fine-tuning run.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, run, text in (
        ("run", _run, "train: the same as python -m tuning.sft_trainer"),
        ("validate", _validate, "check a configuration and change nothing"),
        ("recommend", _recommend, "complete a configuration and say why"),
        ("plan", _plan, "say what will run, and whether it fits"),
        ("preview", _preview, "show rows as they are trained on, and what the audit finds"),
        ("preprocess", _preprocess, "tokenize the rows ahead of a run, which takes them up"),
        ("evaluate", _evaluate, "measure a saved model or adapter on held-out rows"),
        ("generate", _generate, "have a saved model or adapter go on from prompts"),
        ("import", _import, "make a configuration from one of another program"),
        ("sync", _sync, "deliver a run's record to its trackers, without duplicates"),
        ("runs", _runs, "list the runs of this machine: state, steps, losses, links"),
        ("compare", _compare, "show what differs between runs, and where it led"),
        ("schema", _schema, "print the JSON schema of a configuration, for editors"),
    ):
        command = commands.add_parser(name, help=text, description=text, add_help=name in ("validate", "schema"))
        command.set_defaults(run=run)
    return parser


def _run(argv: list[str]) -> int:
    from tuning.sft_trainer import main as train

    return train(argv)


def _validate(argv: list[str]) -> int:
    from tuning.sft_trainer import check, load_config

    job = load_config(argv)
    check(job.config)
    print(f"valid: {len(job.recommendations)} recommendations complete it (tune recommend shows them)")
    return EXIT_SUCCESS


def _recommend(argv: list[str]) -> int:
    from tuning.recommender.cli import main as recommend

    return recommend(argv)


def _plan(argv: list[str]) -> int:
    from tuning.recommender.plan_cli import main as plan

    return plan(argv)


def _preview(argv: list[str]) -> int:
    from tuning.preview import main as preview

    return preview(argv)


def _preprocess(argv: list[str]) -> int:
    from tuning.preprocessing import main as preprocess

    return preprocess(argv)


def _evaluate(argv: list[str]) -> int:
    from tuning.evaluate_cli import main as evaluate

    return evaluate(argv)


def _generate(argv: list[str]) -> int:
    from tuning.generate_cli import main as generate

    return generate(argv)


def _import(argv: list[str]) -> int:
    from tuning.recommender.import_cli import main as import_peer

    return import_peer(argv)


def _sync(argv: list[str]) -> int:
    from tuning.trackers.sync import main as sync

    return sync(argv)


def _runs(argv: list[str]) -> int:
    from tuning.trackers.runs import main as runs

    return runs(argv)


def _compare(argv: list[str]) -> int:
    from tuning.trackers.comparison import main as compare

    return compare(argv)


def _schema(argv: list[str]) -> int:
    from tuning.config.schema import TuningConfig

    print(json.dumps(TuningConfig.json_schema(), indent=2, ensure_ascii=False))
    return EXIT_SUCCESS


if __name__ == "__main__":
    sys.exit(main())
