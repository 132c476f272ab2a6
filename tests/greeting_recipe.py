"""A recipe in a file of its own, as a user writes one; tests copy it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuning.recipes import lora_finetune, recipe

__all__ = ["greeting", "lora_finetune"]


@dataclass
class GreetingParams:
    """Whom to greet, and how often."""

    to: str = ""
    times: int = 1
    output: str = "greeting.txt"

    def __post_init__(self) -> None:
        """Refuse to greet nobody."""
        if not self.to:
            raise ValueError("to: needs to be specified")


@recipe(params=GreetingParams, overlay={"times": 2})
def greeting(params: GreetingParams) -> None:
    """Write a greeting."""
    Path(params.output).write_text(f"hello {params.to}\n" * params.times)
