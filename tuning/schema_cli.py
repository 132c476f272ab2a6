"""`tune schema`: the JSON schema of a configuration, with which editors complete and check a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.errors import EXIT_SUCCESS, UserError
from tuning.recommender.own_flags import take_flags

USAGE = """usage: tune schema [--output FILE]

Print the JSON schema of a configuration. With --output it goes to a file, and the line is printed that a YAML file
starts with to have editors (those with the YAML language server) complete and check it.

Exit codes: 0; 1 for something in the input that you can mend.
"""
MODELINE = "# yaml-language-server: $schema={}"


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return EXIT_SUCCESS
    words, given = take_flags(argv, {"--output": "a file"})
    if words := [word for word in words if word != "--override"]:
        raise UserError(f"tune schema: takes no '{words[0]}'; see tune schema --help")
    text = json.dumps(TuningConfig.json_schema(), indent=2, ensure_ascii=False)
    if "--output" not in given:
        print(text)
        return EXIT_SUCCESS
    file = Path(given["--output"]).expanduser()
    try:
        file.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {file} cannot be written: {error.strerror or error}") from error
    print(MODELINE.format(file))
    return EXIT_SUCCESS
