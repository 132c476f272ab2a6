"""`tune import`: make a configuration of ours from one of another program, and say what is lost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from tuning.errors import EXIT_SUCCESS, UserError
from tuning.recommender.adapters import ADAPTERS, recognised_by
from tuning.recommender.adapters.documents import read_document
from tuning.recommender.adapters.native import declared
from tuning.recommender.cli import exit_code_of
from tuning.recommender.own_flags import take_flags

FLAGS = {"--from": "the name of a program", "--output": "a file"}
USAGE = """usage: tune import FILE [--from PROGRAM] [--output FILE]

Make a configuration of ours from one of another program, YAML or JSON, and print it as YAML. What has no counterpart
here stands below it as comments, each with the reason.

  --from PROGRAM  {programs}; left out: seen from the file's keys
  --output FILE   write the YAML to a file that is not there yet, and print only what is lost

Exit codes: 0; 1 for something in the input that you can mend; 203 for a fault of ours.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 for the user's input, 203 for an internal fault."""
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE.format(programs=", ".join(ADAPTERS.names())))
        return EXIT_SUCCESS
    return exit_code_of(_import, argv)


def _import(argv: Sequence[str]) -> int:
    words, given = take_flags(argv, FLAGS)
    files = [word for word in words if not word.startswith("--")]
    unknown = [word for word in words if word.startswith("--") and word != "--override"]
    if unknown or len(files) != 1:
        raise UserError(
            f"expected one file, got {len(files)}" if not unknown else f"{unknown[0]}: there is no such flag"
        )
    text, lost = imported(files[0], given.get("--from"))
    if "--output" not in given:
        print(text + lost, end="")
        return EXIT_SUCCESS
    _write(Path(given["--output"]).expanduser(), text + lost)
    print(lost + f"Written: {given['--output']}")
    return EXIT_SUCCESS


def imported(file: str, program: str | None = None) -> tuple[str, str]:
    """Return our configuration as YAML, and what has no counterpart as YAML comments; `program` None: recognised.

    Raises:
        UserError: the file cannot be read, or no program is known that it would be for.
    """
    document = read_document(file)
    program = _recognised(file, recognised_by(document)) if program is None else program
    found = ADAPTERS.load(program)().read(document, f"file {file}")
    values, undeclared = declared(found.ir)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120) if values else "{}\n"
    return f"# From {Path(file).name}, read as a configuration of {program}.\n{text}", _comments(
        (*found.unmapped, *undeclared)
    )


def _recognised(file: str, names: Sequence[str]) -> str:
    """Choose the program; a file that another program understands is read as that one's, not as ours."""
    if not names:
        raise UserError(f"{file}: no program is known that has these keys; say which with --from: {ADAPTERS.names()}")
    return next((name for name in names if name != "native"), "native")


def _comments(lost: Iterable[object]) -> str:
    lines = [line for each in lost for line in textwrap.wrap(f"- {each}", 116)]
    return "".join(f"# {line}\n" for line in ["Not mapped:", *lines]) if lines else ""


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UserError(f"--output: {file} is there already; remove it, or choose another name") from error
    except OSError as error:
        raise UserError(f"--output: {file} cannot be written: {error.strerror or error}") from error
