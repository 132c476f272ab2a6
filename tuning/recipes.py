"""Recipes: a recipe is a name, a function, and the few values that make it what it is."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tuning.config.shipped import named_configs
from tuning.errors import UserError
from tuning.registry import Registry, did_you_mean

if TYPE_CHECKING:
    from types import ModuleType

    from tuning.config.ir import IR
    from tuning.job import Job

Run = Callable[[Any], object]


@dataclass(frozen=True)
class Recipe:
    """A name, a function, and values that count where nobody gives others.

    `params` is the class of what the function takes, a dataclass or a pydantic model of the recipe's own. None: a
    `Job`, which is a checked `TuningConfig` with its sources and recommendations, as `train` takes it.
    """

    name: str
    run: Run
    overlay: Mapping[str, Any] = field(default_factory=dict)
    params: type | None = None

    @property
    def text(self) -> str:
        """Say in one sentence what the recipe does."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    def document(self) -> IR:
        """Return the overlay as a document, each value with the recipe as its source."""
        from tuning.config.loading import load_mapping  # half of the time of a command that only lists recipes

        return load_mapping(self.overlay, f"recipe {self.name}").ir


def recipe(
    name: str | None = None, *, params: type | None = None, overlay: Mapping[str, Any] | None = None
) -> Callable[[Run], Recipe]:
    """Make a recipe of the decorated function; it has the function's name unless another is given."""

    def decorate(run: Run) -> Recipe:
        return Recipe(name or getattr(run, "__name__", "recipe"), run, overlay or {}, params)

    return decorate


RECIPES: Registry[Recipe] = Registry(
    "recipe",
    {
        "full_finetune": "tuning.recipes:full_finetune",
        "lora_finetune": "tuning.recipes:lora_finetune",
        "qlora_finetune": "tuning.recipes:qlora_finetune",
        "alora_finetune": "tuning.recipes:alora_finetune",
        "prompt_tuning": "tuning.recipes:prompt_tuning",
        "evaluate": "tuning.model_recipes:evaluate",
        "generate": "tuning.model_recipes:generate",
    },
    "tuning.recipes",
)


@recipe(overlay={"peft_method": "none"})
def full_finetune(job: Job) -> None:
    """Train every weight of the model."""
    _train(job)


@recipe(overlay={"peft_method": "lora"})
def lora_finetune(job: Job) -> None:
    """Train low-rank adapters (LoRA) on the frozen model."""
    _train(job)


@recipe(overlay={"peft_method": "lora", "load_in_4bit": True})
def qlora_finetune(job: Job) -> None:
    """Train low-rank adapters on the model in 4 bits."""
    _train(job)


@recipe(overlay={"peft_method": "alora"})
def alora_finetune(job: Job) -> None:
    """Train adapters that act from an invocation on (aLoRA)."""
    _train(job)


@recipe(overlay={"peft_method": "pt"})
def prompt_tuning(job: Job) -> None:
    """Train a few virtual tokens before the frozen model's input."""
    _train(job)


def load_recipe(name: str, commands: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a name, or the one of a Python file: `my_recipe.py`, `recipes.py:second`.

    Raises:
        UserError: there is none; `commands` are other words that may have been meant.
    """
    path, _, wanted = name.partition(".py:")
    if wanted or name.endswith(".py"):
        return _of_file(Path(path if not wanted else f"{path}.py"), wanted)
    if name not in RECIPES.names():
        hint = did_you_mean(name, [*RECIPES.names(), *commands])
        hint = f"{hint} " if hint.startswith("Did") else ""
        hint += "`tune --help` lists commands, `tune ls` lists recipes."
        raise UserError(f"tune: there is no command or recipe '{name}'. {hint}")
    found: Any = RECIPES.load(name)
    if not isinstance(found, Recipe):
        raise UserError(f"recipe '{name}': expected a function decorated with @recipe, got {type(found).__name__}")
    return found


def _train(job: Job) -> None:
    from tuning.sft_trainer import train_by_command

    train_by_command(job)


def _of_file(path: Path, wanted: str) -> Recipe:
    module = _import(path)
    found = {each.name: each for each in vars(module).values() if isinstance(each, Recipe) and _is_own(each, module)}
    if wanted in found:
        return found[wanted]
    if wanted:
        raise UserError(f"{path}: there is no recipe '{wanted}'. {did_you_mean(wanted, sorted(found))}")
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UserError(f"{path}: holds no recipe; decorate a function with @recipe() of tuning.recipes")
    raise UserError(
        f"{path}: holds several recipes; say which: {', '.join(f'{path}:{name}' for name in sorted(found))}"
    )


def _is_own(found: Recipe, module: ModuleType) -> bool:
    """Tell a recipe that a file makes from one that it imports."""
    return getattr(found.run, "__module__", None) == module.__name__


def _import(path: Path) -> ModuleType:
    """Run a Python file as a module; files beside it can be imported from it, as from a script."""
    if not path.is_file():
        raise UserError(f"recipe: there is no file {path}")
    name = f"recipe_file_{path.stem}"  # no name that an installed package could have
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a file that ends in .py has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{path}: cannot be imported: {type(error).__name__}: {error}") from error
    return module


def __getattr__(name: str) -> Any:
    """Make torchtune's two tables of what there is when they are asked for: they are read off, and kept nowhere."""
    if name == "_RECIPE_LIST":
        return tuple(RECIPES.names())
    if name == "_CONFIG_LISTS":
        listed = {each: tuple(config.name for config in named_configs(each)) for each in RECIPES.names()}
        return MappingProxyType(listed)
    raise AttributeError(f"module 'tuning.recipes' has no attribute '{name}'")
