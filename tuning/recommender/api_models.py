"""The shapes of what the HTTP API takes and gives; FastAPI makes the description of the API from them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Document = dict[str, Any]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class RecommendRequest(_Shape):
    """A run as far as it is decided. All documents together are one; a key may stand in one of them only."""

    config: Document | None = None
    """The configuration, flat or in sections, by the names that the trainer takes."""
    tuning_config: Document | None = None
    """fms-hf-tuning's arguments."""
    tuning_data_config: Document | None = None
    """fms-hf-tuning's data file: data processor and data sets."""
    compute_config: Document | None = None
    """num_nodes and num_gpus_per_node of the machine that it will run on."""
    accelerate_config: Document | None = None
    """The configuration of accelerate, by the keys of its own file."""
    config_file: str = Field(default="config.json", min_length=1, max_length=1_000)
    """Where you will save the completed configuration; the launch command names it."""


class Declined(_Shape):
    """What a rule would have chosen for a value that you set."""

    path: str
    user: Any
    suggested: Any
    because: str
    advice: str


class Overridden(_Shape):
    """A value of yours that was replaced, because the run would crash with it."""

    path: str
    user: Any
    source: str
    now: Any
    because: str
    warning: str


class Recommendation(_Shape):
    """What one rule wrote, and why."""

    action: str
    patch: Document
    """A JSON merge patch (RFC 7396)."""
    comment: str
    level: str
    kind: str
    source: str
    json_patch: list[Document]
    """The same as RFC 6902 operations, against the document that the recommendations before it left."""
    declined: list[Declined]
    overridden: list[Overridden]


class Memory(_Shape):
    """What one device holds at the peak of a training step, bytes; null: not known."""

    parts: dict[str, int] | None
    """Weights, gradients, optimizer, activations, logits."""
    total: int | None
    budget: int | None
    """What is planned with: the memory of the device, less a reserve."""
    fits: bool | None


class RecommendAnswer(_Shape):
    """The completed configuration and its reasons."""

    config: Document
    recommendations: list[Recommendation]
    json_patch: list[Document]
    """RFC 6902 operations that turn the given document into the completed one."""
    launch_command: str
    """A line for a POSIX shell, quoted."""
    memory: Memory
    unmapped: list[str]
    """Keys that were given and have no meaning here."""
    notices: list[str]


class Rule(_Shape):
    """One rule, in the order in which they run."""

    order: int
    name: str
    description: str


class Health(_Shape):
    """What answers here."""

    status: str
    version: str
    roots: list[str]
    """Names of the folders that may be read."""


class Entry(_Shape):
    """A folder, a model or a data file that can be chosen."""

    name: str
    path: str
    """What to write into the configuration."""
    kind: str
    """folder, model (a folder with a model's config.json) or data."""


class Listing(_Shape):
    """What is in one folder."""

    path: str
    parent: str | None
    entries: list[Entry]
    truncated: bool


class Fault(_Shape):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class Refused(_Shape):
    """Everything that is wrong with a request."""

    detail: list[Fault]
