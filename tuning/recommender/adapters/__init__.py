"""The formats of other programs that a run can be read from and written to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.recommender.adapters.adapter import Adapter
from tuning.registry import Registry

_BUILTIN = {
    "native": "native:NativeAdapter",
    "fms": "fms:FmsAdapter",
    "accelerate": "accelerate_file:AccelerateAdapter",
    "trl": "trl_sft:TrlAdapter",
    "llamafactory": "llamafactory:LlamaFactoryAdapter",
    "axolotl": "axolotl:AxolotlAdapter",
    "torchtune": "torchtune:TorchtuneAdapter",
}

ADAPTERS: Registry[type[Adapter]] = Registry(
    "adapter", {name: f"{__name__}.{target}" for name, target in _BUILTIN.items()}, "tuning.adapters"
)
"""Every format by name; packages add theirs under the entry point group `tuning.adapters`."""


def recognised_by(document: Mapping[str, Any]) -> list[str]:
    """Name the adapters that take a document for theirs; the built-in ones in the order of the table above."""
    added = [name for name in ADAPTERS.names() if name not in _BUILTIN]
    return [name for name in (*_BUILTIN, *added) if ADAPTERS.load(name)().recognises(document)]
