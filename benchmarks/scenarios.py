"""What the benchmark trains: scenarios read from a YAML file and checked, and made tiny for a machine without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from tuning.config.section import Section
from tuning.config.strict_yaml import load_yaml
from tuning.config.types import Count, Flag, JsonObject, Names, Positive, Text
from tuning.errors import ConfigError, Problem
from tuning.registry import did_you_mean

TINY_STEPS, TINY_ROWS, TINY_LENGTH = 3, 24, 64
TINY_SHAPE: Mapping[str, int] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
}


class Scenario(Section):
    """One training, the same for every system."""

    name: Text
    model: Text
    """Name of a shape in the same file."""
    method: Literal["full", "lora", "qlora"]
    plugins: Literal["recommended", "none"] | JsonObject = "recommended"
    """What our own trainer switches on: what is recommended, nothing, or these stanzas."""
    data: Literal["instructions", "generated"] = "instructions"
    num_rows: Count = 1000
    batch_size: Count = 8
    max_length: Count = 512
    steps: Count = 16
    learning_rate: Positive = 1e-3
    device: Literal["cpu", "cuda"] = "cpu"
    bf16: Flag = False
    """Keep and compute in bfloat16, in the systems that do not choose it by themselves."""
    systems: Names = Field(min_length=1)
    """Names of the systems that train it; the first of `trl-cli`, `trl-fp32` in it is the baseline of the ratios."""
    shape: JsonObject = Field(default_factory=dict)
    """Fields of LlamaConfig; taken from the file's `models`."""

    def tiny(self) -> Scenario:
        """Return the same on a CPU with a tiny model, a few rows and steps, to see that it runs."""
        smaller = {
            "device": "cpu",
            "num_rows": TINY_ROWS,
            "steps": TINY_STEPS,
            "batch_size": min(self.batch_size, 2),
            "max_length": TINY_LENGTH,
            "data": "generated",
            "shape": {**self.shape, **TINY_SHAPE},
        }
        return self.model_copy(update=smaller)


def load_scenarios(path: Path, systems: Sequence[str]) -> list[Scenario]:
    """Read the scenarios of a file; `systems` are the names that may stand there.

    Raises:
        ConfigError: with every problem in the file.
    """
    document = _document(path)
    models, entries = document.get("models"), document.get("scenarios")
    if not isinstance(models, dict) or not isinstance(entries, list) or not entries:
        raise ConfigError([Problem(str(path), "expected `models`, a mapping of shapes, and `scenarios`, a list")])
    found = [_scenario(entry, models, systems, f"scenarios[{index}]", path) for index, entry in enumerate(entries)]
    problems = [problem for one in found if isinstance(one, list) for problem in one]
    scenarios = [one for one in found if isinstance(one, Scenario)]
    problems += _twice(scenarios, path)
    if problems:
        raise ConfigError(problems)
    return scenarios


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document, problems = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}")]) from error
    if problems:
        raise ConfigError(problems)
    return document if isinstance(document, dict) else {}


def _scenario(
    entry: Any, models: Mapping[str, Any], systems: Sequence[str], place: str, path: Path
) -> Scenario | list[Problem]:
    """Check one entry; returns it, or what is wrong with it."""
    if not isinstance(entry, dict):
        return [Problem(place, "expected a mapping", entry, str(path))]
    shape = models.get(str(entry.get("model")))
    try:
        scenario = Scenario.model_validate({**entry, "shape": shape if isinstance(shape, dict) else {}})
    except ValidationError as error:
        return list(_type_problems(error, place, path))
    problems = []
    if not isinstance(shape, dict):
        hint = did_you_mean(scenario.model, list(models))
        problems.append(Problem(f"{place}.model", "expected a name of `models`", scenario.model, str(path), hint))
    for name in scenario.systems:
        if name not in systems:
            hint = did_you_mean(name, list(systems))
            problems.append(Problem(f"{place}.systems", "expected names of systems", name, str(path), hint))
    return problems or scenario


def _type_problems(error: ValidationError, place: str, path: Path) -> Iterator[Problem]:
    for item in error.errors():
        name = str(item["loc"][0])
        if item["type"] == "extra_forbidden":
            yield Problem(
                f"{place}.{name}", "unknown key", item["input"], str(path), did_you_mean(name, [*Scenario.model_fields])
            )
        else:
            yield Problem(f"{place}.{name}", item["msg"], item["input"], str(path))


def _twice(scenarios: Sequence[Scenario], path: Path) -> Iterator[Problem]:
    names = [scenario.name for scenario in scenarios]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("scenarios", "expected a name for one scenario only", name, str(path))
