"""Build a model without weights, as training would prepare it: its class from transformers, adapters from PEFT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

    from tuning.recommender.memory import Step


def load_config(config: Mapping[str, Any]) -> PreTrainedConfig:
    """Make transformers' configuration from what `config.json` says, of the language model where there are others.

    Raises:
        UserError: transformers does not know the model type, or refuses the values.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    values = {key: value for key, value in config.items() if key not in ("auto_map", "quantization_config")}
    try:
        return AutoConfig.for_model(str(values.pop("model_type", "")), **values).get_text_config()
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"model: transformers cannot make a model from this config.json: {reason}") from error


def build_model(config: PreTrainedConfig, num_hidden_layers: int, step: Step) -> Any:
    """Build a model of so many layers on the meta device, with adapters where the step trains some."""
    import torch

    with torch.device("meta"):
        model = _from_config(_with_layers(config, num_hidden_layers), step)
        if step.r is None:
            return model
        return _with_adapters(model, step.r, step.target_modules, torch.bfloat16 if step.is_quantized else None)


def materialize(model: torch.nn.Module) -> None:
    """Give every parameter and buffer a storage of its own under the fake tensor mode that is active; ties stay."""
    import torch

    made: dict[int, torch.Tensor] = {}

    def twin(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return made[id(tensor)]

    kept = []  # an id is unique only while its tensor lives
    for module in model.modules():
        held: tuple[Any, Any] = (module._parameters, module._buffers)
        for tensors in held:
            present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
            kept += present.values()
            tensors.update({name: twin(tensor) for name, tensor in present.items()})


def blocks(model: Any) -> list[torch.nn.Module]:
    """Return the decoder blocks: the longest list of modules of one class, in their order."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 1]
    return list(max(lists, key=lambda found: sum(parameter.numel() for parameter in found.parameters())))


def tied_shape(model: Any) -> tuple[int, ...] | None:
    """Return the shape of the embeddings where they are the head as well and are trained."""
    weight = model.get_input_embeddings().weight
    return tuple(weight.shape) if weight.requires_grad and weight is model.get_output_embeddings().weight else None


def base_of(model: Any, step: Step) -> Any:
    """Return the model without what PEFT puts around it."""
    return model if step.r is None else model.get_base_model()


def _with_layers(config: PreTrainedConfig, count: int) -> PreTrainedConfig:
    import copy

    shallow = copy.deepcopy(config)
    shallow.num_hidden_layers = count
    if isinstance(types := getattr(shallow, "layer_types", None), list):
        shallow.layer_types = types[:count]
    return shallow


def _from_config(config: PreTrainedConfig, step: Step) -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if step.dtype_bytes == 4 else torch.bfloat16
    try:
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    except (ValueError, ImportError) as error:
        raise UserError(f"model: transformers cannot build it: {error}") from error


def _with_adapters(model: Any, r: int, target_modules: Collection[str] | None, dtype: torch.dtype | None) -> Any:
    """Add adapters as PEFT does; TRL casts them to bfloat16 where the base is quantized."""
    from peft import LoraConfig, get_peft_model

    targets = "all-linear" if target_modules is None else list(target_modules)
    adapted: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=r, target_modules=targets))
    for parameter in adapted.parameters() if dtype is not None else ():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return adapted
