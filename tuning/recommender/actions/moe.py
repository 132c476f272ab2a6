"""Models with experts: what adapters reach, how experts are multiplied, and the balance of their router."""

from __future__ import annotations

from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.actions.batch import wanted_batch
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory_plan import gib, needed_and_budget, planned_step
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.shape import Shape
from tuning.recommender.values import by_user, is_lora, number, whole

_ATTENTION = r".*\.(self_attn|linear_attn)\.\w*proj\w*"
"""The projections of attention; `all-linear` would adapt routers too, on which some model types then fail."""
_GROUPED_CAPABILITY = (8, 0)
_MOST_BALANCE = 0.01
_TRAINED_BYTES = 16
"""Bytes of a parameter of an adapter: float32, its gradient and AdamW's two moments."""
_PEFT = (
    "PEFT 0.21, LoraConfig.target_parameters; own runs with transformers 5.23: all-linear adapts the router of Mixtral "
    "and Qwen3, and fails on that of PhiMoE and Llama 4"
)


class ExpertAdapters(Action):
    """Adapters on attention, and on the experts where there is memory for a changed copy of them; none on routers."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose the modules and parameters by name, as far as transformers' source tells them."""
        model, shape = facts.model, _shape_with_experts(facts)
        if model is None or shape is None or not is_lora(ir):
            return None
        if model.architecture.has_self_attn is not True:
            comment = f"Where {shape.model_type} keeps its experts is not known; PEFT looks for linear layers itself."
            return suggest({"peft.target_modules": "all-linear"}, comment, Kind.MODEL_QUALITY, _PEFT)
        without = _why_without_experts(ir, facts, model, shape)
        parameters = list(model.architecture.fused_experts) if without is None else None
        learned = f"not on experts: {without}" if without else f"and on the {shape.num_experts} experts of each block"
        comment = f"Adapters on attention, {learned}. The router stays as it is."
        values = {"peft.target_modules": _ATTENTION, "peft.target_parameters": parameters}
        return suggest(values, comment, Kind.MODEL_QUALITY, _PEFT)


class ExpertsImplementation(Action):
    """One grouped multiplication for all experts, where the device has it."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Write down what transformers would choose, so that the run says what it did."""
        if _shape_with_experts(facts) is None or facts.model is None or facts.hardware is None:
            return None
        if facts.model.architecture.can_group_experts is not True or not _has_grouped_mm(facts.hardware):
            return None
        comment = "All experts of a block are multiplied at once, instead of one after another in a loop."
        source = "transformers 5.23, integrations/moe.py; own run of a small Mixtral on a CPU: 0.55 s against 0.61 s"
        return suggest({"model.experts_implementation": "grouped_mm"}, comment, Kind.SYSTEM_PERFORMANCE, source)


class RouterAuxLoss(Action):
    """No loss for the balance of a frozen router, and a small one for a router that is trained."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Speak up where the model's own weight of that loss is not right for fine-tuning."""
        if _shape_with_experts(facts) is None or facts.model is None:
            return None
        default = facts.model.architecture.router_aux_loss_coef
        if default is None or not facts.model.architecture.has_num_experts:
            return None
        path, own = "training.router_aux_loss_coef", facts.model.router_aux_loss_coef
        own = default if own is None else own
        source = "Fedus et al., Switch Transformers (arXiv 2101.03961), section 2.2: 0.01 balances, and drowns no loss"
        if is_lora(ir):
            comment = f"The router is frozen under LoRA; {own:g} times its balance would only pull at other weights."
            return suggest({path: 0.0}, comment, Kind.MODEL_QUALITY, source)
        if own <= _MOST_BALANCE:
            return None
        comment = f"The model's own {own:g} would weigh the balance of the router more than what the rows teach."
        return suggest({path: _MOST_BALANCE}, comment, Kind.MODEL_QUALITY, source)


def _has_grouped_mm(hardware: HardwareFacts) -> bool:
    capability = hardware.compute_capability
    on_gpu = hardware.accelerator == "cuda" and capability is not None and capability >= _GROUPED_CAPABILITY
    return on_gpu or hardware.accelerator == "cpu"


def _shape_with_experts(facts: Facts) -> Shape | None:
    shape = facts.model.shape if facts.model is not None else None
    return shape if shape is not None and shape.num_experts else None


def _why_without_experts(ir: IR, facts: Facts, model: ModelFacts, shape: Shape) -> str | None:
    """Say why the experts get no adapters; None: they do.

    PEFT adds the adapters' product to a copy of all experts of a block in each forward pass, which the estimate of a
    step leaves out. So there must be room for it beside the largest step that other rules could choose.
    """
    if not model.architecture.fused_experts:
        return f"{shape.model_type} does not hold them in one parameter"
    if (number(ir, "peft.lora_dropout") or 0) > 0 or ir.get("peft.use_dora") is True:
        return "PEFT adapts parameters only without dropout and DoRA"
    if by_user(ir, "peft.target_modules") is not None:
        return "target_modules is set, and says where adapters go"
    step = replace(planned_step(ir, facts), rows=_most_rows(ir, facts), gradient_checkpointing=False)
    found, extra = needed_and_budget(step, facts), _copies_bytes(shape, step.r or 1)
    if found is None:
        return "whether there is memory for a copy of them is not known"
    if found[0] + extra > found[1]:
        return f"a changed copy of them needs about {gib(extra)} beside {gib(found[0])}, of {gib(found[1])}"
    return None


def _most_rows(ir: IR, facts: Facts) -> int:
    given = whole(ir, "training.per_device_train_batch_size")
    return given if given and ir.is_set_by_user("training.per_device_train_batch_size") else wanted_batch(ir, facts)


def _copies_bytes(shape: Shape, r: int) -> int:
    """Count the changed copy of the experts of every block, in float32, and their adapters: `r` for each expert."""
    inner = shape.moe_intermediate_size or shape.intermediate_size
    experts = shape.num_experts * 3 * shape.hidden_size * inner
    adapters = shape.num_experts * r * ((shape.hidden_size + 2 * inner) + (inner + shape.hidden_size))
    return shape.num_hidden_layers * (4 * experts + _TRAINED_BYTES * adapters)
