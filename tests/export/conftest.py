"""Tiny models and adapters for the exports, each model made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_families import MakeModel, make_adapter, make_model


@pytest.fixture(scope="session")
def family(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Make the folder of a model of a family, with weights large enough for each of them to matter."""
    made: dict[str, Path] = {}

    def make(name: str, **changes: Any) -> Path:
        key = f"{name}{sorted(changes.items())}"
        if key not in made:
            made[key] = make_model(name, changes, tiny_config_only_model, tmp_path_factory.mktemp(name) / name)
        return made[key]

    return make


@pytest.fixture(scope="session")
def adapter(family: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Make the folder of a LoRA adapter on a model of a family, with random weights; `new_tokens` grow the base."""

    def make(name: str, new_tokens: int = 0, **fields: Any) -> Path:
        return make_adapter(family(name), new_tokens, fields, tmp_path_factory.mktemp("adapter") / "adapter")

    return make
