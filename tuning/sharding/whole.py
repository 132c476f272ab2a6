"""Between a state that is divided over processes and the whole of it; all processes take part in each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def gathered_model(model: Any) -> dict[str, Tensor]:
    """Gather what is saved of a model, one weight at a time: all of it, or the part that a PEFT model trains.

    Only the first process gets them, in the memory of its CPU; names that share a weight share it afterwards, too.
    """
    state: dict[str, Tensor] = model.state_dict()
    if hasattr(model, "peft_config"):
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        state = {name: weight for name, weight in state.items() if name in trained}
    known: dict[int, Tensor] = {}
    whole: dict[str, Tensor] = {}
    for name, weight in state.items():
        place = _place(weight)
        if place not in known:
            known[place] = gathered(weight)
        if _is_first():
            whole[name] = known[place]
    return whole


def gathered(state: Any) -> Any:
    """Gather all tensors in a nested state; processes other than the first get empty ones in their place."""
    if isinstance(state, Mapping):
        return {key: gathered(value) for key, value in state.items()}
    if not isinstance(state, DTensor):
        return state.detach().cpu() if isinstance(state, Tensor) else state
    whole: Tensor = state.full_tensor().detach()
    return whole.cpu() if _is_first() else torch.empty(0)


def divided(whole: Any, like: Any) -> Any:
    """Divide a whole tensor over the processes as another one is; what is no tensor of that shape stays as it is."""
    if not isinstance(like, DTensor) or not isinstance(whole, Tensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


def copy_into(model: Any, state: Mapping[str, Tensor]) -> None:
    """Copy whole weights into a model that is divided.

    Raises:
        KeyError: the state lacks a weight that is trained, or holds one that the model has not.
    """
    targets = weights_by_saved_name(model)
    if unknown := sorted(state.keys() - targets.keys()):
        raise KeyError(f"the model has no weight {unknown[0]}")
    reached = {_place(targets[name]) for name in state}
    trained = {_place(weight): name for name, weight in model.named_parameters() if weight.requires_grad}
    if missing := sorted(trained[place] for place in trained.keys() - reached):
        raise KeyError(f"there is no weight {missing[0]}")
    with torch.no_grad():
        for name, whole in state.items():
            targets[name].copy_(divided(whole, targets[name]))


def weights_by_saved_name(model: Any) -> dict[str, Any]:
    """Map the names that the weights of a saved model or adapter have to the memory of this model's own."""
    if not hasattr(model, "peft_config"):
        return model.state_dict()
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


def _place(weight: Tensor) -> int:
    """Return where the memory of a weight, or of this process's part of it, begins."""
    return (weight.to_local() if isinstance(weight, DTensor) else weight).data_ptr()


def _is_first() -> bool:
    return torch.distributed.get_rank() == 0
