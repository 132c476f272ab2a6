"""The configurations that a name stands for: those of `./configs`, and those that ship with the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tuning.errors import UserError
from tuning.registry import did_you_mean

_ENDINGS = (".yaml", ".yml", ".json")
_OF_LAUNCHERS = frozenset({"accelerate", "acceleration"})
"""Folders with files of other programs."""


class NamedConfig(NamedTuple):
    """A configuration file; `recipe` is the folder that it stands in, empty where it stands in none."""

    name: str
    recipe: str
    path: Path


def config_folders() -> list[Path]:
    """List the folders that are searched, the user's first."""
    package = Path(__file__).resolve().parent.parent
    # An installed package has them inside, a checkout beside.
    folders = [Path("configs"), package / "configs", package.parent / "configs"]
    return list({folder.resolve(): folder for folder in reversed(folders) if folder.is_dir()}.values())[::-1]


def named_configs(recipe: str | None = None) -> list[NamedConfig]:
    """List every configuration that has a name, of one recipe or of all; of two with one name the user's counts."""
    found: dict[tuple[str, str], NamedConfig] = {}
    for config in (config for folder in config_folders() for config in _inside(folder)):
        if recipe is None or config.recipe == recipe:
            found.setdefault((config.recipe, config.name), config)
    return sorted(found.values())


def find_config(name: str, recipe: str | None = None) -> Path:
    """Return the file that a path or a name stands for: `NAME`, or `RECIPE/NAME`; `recipe` is where to look first.

    Raises:
        UserError: there is none, or there are several.
    """
    if Path(name).is_file() or Path(name).is_symlink():  # of a link that leads nowhere, reading it tells
        return Path(name)
    known = named_configs()
    wanted = [config for config in known if name in (config.name, f"{config.recipe}/{config.name}")]
    wanted = [config for config in wanted if config.recipe == recipe] or wanted
    if len(wanted) == 1:
        return wanted[0].path
    if wanted:
        names = ", ".join(f"{config.recipe}/{config.name}" for config in wanted)
        raise UserError(f"'{name}' stands for {names}; say which")
    hint = did_you_mean(name, [config.name for config in known] or [name])
    hint = f"{hint} " if hint.startswith("Did") else ""
    raise UserError(f"No such file: '{name}', nor a config of that name. {hint}`tune ls` lists the names.")


def _inside(folder: Path) -> Iterator[NamedConfig]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if path.suffix in _ENDINGS and path.is_file() and not _OF_LAUNCHERS & set(inner.parts):
            yield NamedConfig(path.stem, inner.parts[0] if len(inner.parts) > 1 else "", path)
