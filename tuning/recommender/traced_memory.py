"""How much memory a training step needs, by running one under fake tensors: seconds, no weights, no GPU.

The operations are the real ones, of the model's own class, of PEFT, of TRL's loss and of torch's AdamW; their tensors
have shapes and no contents. Models of two and of four layers are run, and a straight line through both gives the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tuning.recommender.live_storages import LiveStorages, watch
from tuning.recommender.memory import MemoryParts, Step
from tuning.recommender.traced_model import build_model, load_config, materialize, tied_shape
from tuning.recommender.traced_placement import placed
from tuning.recommender.traced_step import prepared_step

_FEW, _MORE = 2, 4
"""Layers that are traced. The first and the last block may differ from those between them, so two are the least."""
_PARTS = tuple(field.name for field in fields(MemoryParts))

Moments = Mapping[str, Mapping[str, float]]
"""What each part holds at the highest point of each stretch of a step, bytes."""


def traced_memory(config: Mapping[str, Any], step: Step) -> MemoryParts:
    """Measure what a step with AdamW holds at its peak, for the model that a `config.json` describes.

    Raises:
        UserError: transformers cannot build the model.
    """
    described = load_config(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about the training that this is not
        few, more = (traced_moments(described, step, layers) for layers in (_FEW, _MORE))
    return highest(extrapolated(few, more, described.num_hidden_layers))


def extrapolated(few: Moments, more: Moments, num_hidden_layers: int) -> Moments:
    """Draw a straight line through two traces, moment by moment and part by part."""
    times = (num_hidden_layers - _FEW) / (_MORE - _FEW)
    return {
        moment: {part: few[moment][part] + times * (more[moment][part] - few[moment][part]) for part in _PARTS}
        for moment in few.keys() & more.keys()
    }


def highest(moments: Moments) -> MemoryParts:
    """Return the parts of the moment that holds most."""
    found = max(moments.values(), key=lambda parts: sum(parts.values()))
    return MemoryParts(**{part: round(max(0.0, found[part])) for part in _PARTS})


def traced_moments(config: Any, step: Step, num_hidden_layers: int) -> Moments:
    """Run two steps of a model of so many layers; return the moments of the second, which has an optimizer state."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    ledger, computing = LiveStorages(), step.computing
    model = build_model(config, num_hidden_layers, computing)
    with FakeTensorMode(), watch(ledger, tied_shape(model)):
        ledger.enter("start", "weights")
        materialize(model)
        run = prepared_step(model, computing, ledger)
        run()
        ledger.highest.clear()
        run()
    return {moment: placed(parts, moment, model, step) for moment, parts in ledger.highest.items()}
