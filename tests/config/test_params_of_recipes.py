from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tuning.config.params import load_params
from tuning.errors import ConfigError, UserError


@dataclass
class Optimizer:
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])


@dataclass
class Params:
    name: str = ""
    steps: int = 1
    tags: list[str] = field(default_factory=list)
    optimizer: Optimizer = field(default_factory=Optimizer)

    def __post_init__(self) -> None:
        if not self.name:
            raise TypeError("name needs to be specified")


class Model(BaseModel):
    rate: float = 0.1
    words: list[str] = []


@dataclass
class WithoutDefault:
    name: str


def load(*words: str, overlay: dict[str, Any] | None = None, kind: type = Params) -> Any:
    return load_params(kind, words, overlay or {}, "mine")


def refusal(*words: str, kind: type = Params) -> str:
    with pytest.raises(UserError) as caught:
        load(*words, kind=kind)
    return str(caught.value)


def test_params_come_from_defaults_overlay_file_and_command_line(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("name: file\nsteps: 2\noptimizer:\n  lr: 2e-5\n")
    found = load("--config", str(tmp_path / "my.yaml"), "steps=3", overlay={"steps": 5, "tags": ["a"]})
    assert found == Params("file", 3, ["a"], Optimizer(2e-5))


def test_nested_params_lists_and_removal_on_the_command_line() -> None:
    found = load("name=x", "optimizer.lr=0.5", "tags+=b", "tags+=c", "steps=7", "~steps")
    assert (found.optimizer.lr, found.tags, found.steps) == (0.5, ["b", "c"], 1)


def test_text_stays_text() -> None:
    assert load("name=2024").name == "2024"


def test_a_pydantic_model_is_filled_too() -> None:
    assert load("rate=0.5", 'words=["a"]', kind=Model) == Model(rate=0.5, words=["a"])


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("name: x\nstep: 2\nsteps: many\noptimizer:\n  rl: 1\n")
    told = refusal(str(file), "tagz=1")
    assert f"step: got 2 (from file {file}, line 2); there is no such field. Did you mean 'steps'?" in told
    assert f"steps: got 'many' (from file {file}, line 3)" in told
    assert f"optimizer.rl: got 1 (from file {file}, line 5)" in told
    assert "tagz: got 1 (from command line); there is no such field. Did you mean 'tags'?" in told


def test_what_post_init_refuses_is_told() -> None:
    assert refusal() == "Params: name needs to be specified."


def test_adding_to_what_is_no_list_is_refused() -> None:
    assert "+= adds to a list" in refusal("name=x", "steps=1", "steps+=2")


def test_a_class_whose_fields_have_no_defaults_is_refused() -> None:
    assert "every field of WithoutDefault needs a default; name has none" in refusal(kind=WithoutDefault)


def test_a_class_without_fields_is_refused() -> None:
    assert "expected a dataclass or a pydantic model" in refusal(kind=dict)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load("--config", "nowhere.yaml")
