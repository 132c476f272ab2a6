"""The recipes of a model that is trained: measure it, and have it write."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tuning.recipes import recipe


@dataclass(frozen=True)
class EvaluateParams:
    """What `tune evaluate` measures, and where the results go."""

    model: str = ""
    """Folder or Hub id of a model, or folder of an adapter. Required."""
    config: str | None = None
    """Configuration with the held-out rows: a file, such as a run's own config.json. None: settings say all."""
    base: str | None = None
    """Base of an adapter, where it is not where adapter_config.json says."""
    output_dir: str | None = None
    """Folder for eval.json and predictions.jsonl. None: they are only printed."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of a configuration that win over `config`: validation_data_path, generation_metrics …"""

    def __post_init__(self) -> None:
        """Refuse to measure nothing."""
        if not self.model:
            raise ValueError("model: a model's folder or Hub id is required")


@dataclass(frozen=True)
class GenerateParams:
    """What `tune generate` writes from, and how."""

    model: str = ""
    """Folder or Hub id of a model, or folder of an adapter. Required."""
    prompts: list[str] = field(default_factory=list)
    """Texts to go on from."""
    file: str | None = None
    """File of prompts, instead of `prompts`: .txt, one a line, or rows with prompt or messages."""
    chat: bool = False
    """A prompt is what a user says: the chat template is used."""
    max_new_tokens: int = 256
    """Longest text, tokens."""
    temperature: float = 0.0
    """Above 0: tokens are drawn at random."""
    num_return_sequences: int = 1
    """Texts for each prompt."""
    batch_size: int = 8
    """Prompts at a time."""
    seed: int = 42
    """Seed of the draws."""
    base: str | None = None
    """Base of an adapter, where it is not where adapter_config.json says."""
    output: str | None = None
    """File of JSON lines for the texts. None: they are only printed."""

    def __post_init__(self) -> None:
        """Refuse to write from nothing."""
        if not self.model:
            raise ValueError("model: a model's folder or Hub id is required")
        if bool(self.prompts) == (self.file is not None):
            raise ValueError("prompts: give texts, or a file of them, and not both")


@recipe(params=EvaluateParams)
def evaluate(params: EvaluateParams) -> int:
    """Measure a saved model or adapter on held-out rows."""
    from tuning.evaluate_cli import main

    words = [params.model, *(["--config", params.config] if params.config else [])]
    words += [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in params.settings.items()
    ]
    return main([*words, *_flags(params, "base", "output_dir")])


@recipe(params=GenerateParams)
def generate(params: GenerateParams) -> int:
    """Have a saved model or adapter go on from prompts."""
    from tuning.generate_cli import main

    prompts = [f"--prompt={text}" for text in params.prompts]
    numbers = ("max_new_tokens", "temperature", "num_return_sequences", "batch_size", "seed")
    words = [params.model, *prompts, *(["--chat"] if params.chat else [])]
    return main([*words, *_flags(params, "file", "base", "output", *numbers)])


def _flags(params: EvaluateParams | GenerateParams, *names: str) -> list[str]:
    """Write fields as the flags of a command that have the same names."""
    given = {name: getattr(params, name) for name in names}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
