"""Packages and recipe files of others that fail, given to `tune`: each with a part of its one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malformed import ROW, Case, beside

TRACKER = "class Evil:\n    pass\n"
PLUGIN = """from tuning.acceleration.plugin import AccelerationPlugin
from tuning.config.section import Section


class EvilSettings(Section):
    size: int


class Evil(AccelerationPlugin):
    configuration_and_paths = ("training.evil",)
    settings = EvilSettings
"""
FAILURES = {
    "fails at import": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "is no Python": ("class Evil(:", "SyntaxError"),
    "imports what is not there": ("import nothing_of_that_name", "nothing_of_that_name"),
    "holds no such name": ("x = 1", "Evil"),
    "imports itself": ("from evil import Evil", "evil"),
    "never ends to call itself": ("def f():\n    f()\nf()", "RecursionError"),
}


def packaged(group: str, code: str, *words: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Install a package `evil` whose entry point of a group leads to its `Evil`, and give the command these words."""

    def write(folder: Path) -> None:
        notes = folder / "packages" / "evil-1.0.dist-info"
        notes.mkdir(parents=True)
        (folder / "packages" / "evil.py").write_text(code)
        (notes / "METADATA").write_text("Name: evil\nVersion: 1.0\n")
        (notes / "entry_points.txt").write_text(f"[{group}]\nevil = evil:Evil\n")

    return words, write


def tracker(code: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Bring a tracker, and name it."""
    return packaged("tuning.trackers", code, "run", "run.json", "trackers=evil")


def plugin(code: str, stanza: str = '{"training": {"evil": {}}}') -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Bring an acceleration plugin, and give it a stanza."""
    asked = ("run", "run.json", f"plugins={stanza}", "strict_plugins=true")
    return packaged("tuning.acceleration", code, *asked)


def recipe(code: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Bring a recipe, and run it."""
    return packaged("tuning.recipes", code, "evil", "--config", "run.json")


def handler(code: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Bring a data handler, and have rows go through it."""
    dataset = [{"name": "a", "data_paths": ["rows.jsonl"], "data_handlers": [{"name": "evil"}]}]
    asked = ("run", "run.json", "training_data_path=null", f"datasets={json.dumps(dataset)}")
    return packaged("tuning.data_handlers", code, *asked)


def recipe_file(code: str, *words: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a recipe file, and run it."""
    return ("bad.py", *words), beside("bad.py", code)[1]


def one_row(folder: Path) -> None:
    """Leave one row, which is a JSON object as a configuration is."""
    (folder / "rows.jsonl").write_text(ROW)


ALL: dict[str, Case] = {
    **{f"a tracker that {name}": Case(told, *tracker(code)) for name, (code, told) in FAILURES.items()},
    **{f"a recipe that {name}": Case(told, *recipe(code)) for name, (code, told) in FAILURES.items()},
    **{f"a handler that {name}": Case(told, *handler(code)) for name, (code, told) in FAILURES.items()},
    **{
        f"an acceleration plugin that {name}": Case("acceleration.plugins.training.evil", *plugin(code))
        for name, (code, told) in FAILURES.items()
    },
    "a tracker of another class": Case("tracking.trackers", *tracker(TRACKER)),
    "a tracker that is a number": Case("tracking.trackers", *tracker("Evil = 7")),
    "a recipe that is a number": Case("recipe 'evil': expected a function", *recipe("Evil = 7")),
    "a handler that is a number": Case("evil", *handler("Evil = 7")),
    "a plugin of another class": Case("acceleration.plugins.training.evil", *plugin(TRACKER)),
    "a plugin without its setting": Case("acceleration.plugins.training.evil.size", *plugin(PLUGIN)),
    "a plugin with a wrong setting": Case(
        "acceleration.plugins.training.evil.size", *plugin(PLUGIN, '{"training": {"evil": {"size": "big"}}}')
    ),
    "a plugin with an unknown setting": Case(
        "acceleration.plugins.training.evil.sze", *plugin(PLUGIN, '{"training": {"evil": {"size": 1, "sze": 2}}}')
    ),
    "a plugin with a number for settings": Case(
        "acceleration.plugins.training.evil", *plugin(PLUGIN, '{"training": {"evil": 7}}')
    ),
    "a recipe file that is not there": Case("there is no file", ("none.py",)),
    "a recipe file that fails": Case("bad.py: cannot be imported: ZeroDivisionError", *recipe_file("1 / 0")),
    "a recipe file that is no Python": Case("bad.py: cannot be imported: SyntaxError", *recipe_file("class (")),
    "a recipe file that leaves": Case("bad.py", *recipe_file("raise SystemExit(0)")),
    "a recipe file without a recipe": Case("bad.py: holds no recipe", *recipe_file("x = 1")),
    "a recipe file without the named one": Case("there is no recipe 'b'", ("bad.py:b",), recipe_file("x = 1")[1]),
    "no command": Case("there is no command or recipe 'evil'", ("evil",)),
    "no command of shell characters": Case("there is no command or recipe", ("$(mkdir pwned)",)),
    "rows for a configuration": Case("prompt: got 'a' (from file rows.jsonl", ("validate", "rows.jsonl"), one_row),
}
