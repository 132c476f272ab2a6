"""`tune RECIPE`, and the commands that show, copy and check what recipes start from."""

from __future__ import annotations

import inspect
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuning.config.shipped import find_config, named_configs
from tuning.errors import EXIT_SUCCESS, UserError
from tuning.launch.flags import LAUNCH_FLAGS
from tuning.recipes import RECIPES, Recipe, load_recipe
from tuning.recommender.own_flags import NOTHING, take_flags

logger = logging.getLogger(__name__)

VALIDATE_USAGE = """usage: tune validate [RECIPE] [FILE] [--config NAME|FILE] [key=value …]

Read, complete and check a configuration as a run would before it imports torch, and change nothing. With a recipe, the
values of the recipe are under it, and a recipe's own params are checked by their own class.

Exit codes: 0; 1 for something in the input that you can mend.
"""
LS_USAGE = """usage: tune ls [RECIPE]

List recipes, and the configs of each: those of ./configs and those that ship with the package.
"""
CAT_USAGE = """usage: tune cat CONFIG

Print a config, by its name or its file.
"""
CP_USAGE = """usage: tune cp CONFIG [PATH] [--force]

Copy a config, by its name or its file, to PATH (here, under its own name, if that is left out). A file that is there is
kept, unless --force is given.
"""


_LAUNCH_HELP = (
    "--nproc N         start N processes of this machine",
    "--max_restarts K  where a process dies, go on from the last checkpoint, at most K times",
    "--nnodes M --node_rank R --master_addr HOST [--master_port P]",
    "                  with --nproc: this is machine R of M, and machine 0 is HOST",
)


def run_recipe(name: str, words: Sequence[str], commands: Sequence[str] = ()) -> int:
    """Run a recipe with the words that follow its name; returns the exit code.

    Raises:
        UserError: there is no such recipe; `commands` are other words that may have been meant.
    """
    found = load_recipe(name, commands)
    if {"-h", "--help"} & set(words):
        print(recipe_help(name, found))
        return EXIT_SUCCESS
    words, given = take_flags(words, LAUNCH_FLAGS)
    if given:
        from tuning.launch.launching import launch

        return launch(name, found, words, given)
    from tuning.ending import ended

    return ended(lambda: found.run(_argument(found, words)))


def recipe_help(name: str, found: Recipe) -> str:
    """Write what a recipe does, what it takes and how it is started."""
    nproc = "" if found.params is not None else " [--nproc N] [--max_restarts K]"
    lines = [f"usage: tune {name} [--config NAME|FILE]{nproc} [--override] [key=value …]", "", found.text]
    lines += [f"It sets {key}={value}, unless you do." for key, value in found.overlay.items()]
    if found.params is None:
        lines += ["Keys are those of a run: `tune run --help` lists them.", "", *_LAUNCH_HELP]
    else:
        from tuning.config.params import fields_of

        kinds = {field: inspect.formatannotation(kind) for field, kind in fields_of(found.params).items()}
        lines += ["", "params:", *(f"  {field}: {kind}" for field, kind in kinds.items())]
    configs = [config.name for config in named_configs(found.name)]
    example = f"  tune {name} --config {next(iter(configs), 'run.yaml')}"
    return "\n".join([*lines, "", "example:", example])


def validate(argv: Sequence[str]) -> int:
    """Run `tune validate`; returns the exit code."""
    if {"-h", "--help"} & set(argv):
        print(VALIDATE_USAGE, end="")
        return EXIT_SUCCESS
    is_recipe = bool(argv) and (argv[0] in RECIPES.names() or ".py" in argv[0])
    found = load_recipe(argv[0]) if is_recipe else None
    argument = _argument(found, argv[1:] if found else argv)
    if found is not None and found.params is not None:
        print(f"valid: {argument}")
        return EXIT_SUCCESS
    from tuning.job import check

    check(argument.config)
    print(f"valid: {len(argument.recommendations)} recommendations complete it (tune recommend shows them)")
    return EXIT_SUCCESS


def ls(argv: Sequence[str]) -> int:
    """Run `tune ls`; returns the exit code."""
    words, asked = _asked(argv, LS_USAGE, {})
    if asked is None:
        return EXIT_SUCCESS
    recipes = [load_recipe(word).name for word in words] or RECIPES.names()
    print("\n".join(line for name in recipes for line in _listed(name)))
    return EXIT_SUCCESS


def cat(argv: Sequence[str]) -> int:
    """Run `tune cat`; returns the exit code."""
    words, asked = _asked(argv, CAT_USAGE, {})
    if asked is None:
        return EXIT_SUCCESS
    if len(words) != 1:
        raise UserError("tune cat: expected one config; `tune ls` lists them")
    print(find_config(words[0]).read_text(encoding="utf-8"), end="")
    return EXIT_SUCCESS


def cp(argv: Sequence[str]) -> int:
    """Run `tune cp`; returns the exit code."""
    words, asked = _asked(argv, CP_USAGE, {"--force": NOTHING})
    if asked is None:
        return EXIT_SUCCESS
    if len(words) not in (1, 2):
        raise UserError("tune cp: expected a config, and where to copy it; `tune ls` lists configs")
    source, target = find_config(words[0]), Path(words[1] if len(words) == 2 else ".").expanduser()
    target = target / source.name if target.is_dir() else target
    if target.exists() and "--force" not in asked:
        raise UserError(f"tune cp: {target} is there already; name another file, or replace it with --force")
    if target.exists() and target.resolve() == source.resolve():
        raise UserError(f"tune cp: {target} is the config itself")
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise UserError(f"tune cp: {target} cannot be written: {error.strerror or error}") from error
    print(f"{target}: try `tune validate {target}`")
    return EXIT_SUCCESS


def _argument(found: Recipe | None, words: Sequence[str]) -> Any:
    """Make what a recipe's function takes: a job, or params of the recipe's own."""
    if found is not None and found.params is not None:
        from tuning.config.params import load_params

        params = load_params(found.params, words, found.overlay, found.name)
        logger.info("recipe %s: %s", found.name, params)
        return params
    from tuning.job import load_config

    if found is None:
        return load_config(words)
    return load_config(words, found.document(), found.name)


def _listed(name: str) -> Iterator[str]:
    yield f"{name:<16} {load_recipe(name).text}"
    yield from (f"  {config.name:<30} {config.path}" for config in named_configs(name))


def _asked(argv: Sequence[str], usage: str, flags: dict[str, str]) -> tuple[list[str], dict[str, Any] | None]:
    """Take a command's flags out of its words; None for the flags: its help was asked for, and is told."""
    if {"-h", "--help"} & set(argv):
        print(usage, end="")
        return [], None
    words, given = take_flags(argv, flags)
    words = [word for word in words if word != "--override"]
    if unknown := [word for word in words if word.startswith("-")]:
        raise UserError(f"{unknown[0]}: there is no such flag; --help tells which there are")
    return words, given
