"""What the user set and the libraries refuse or fail on: the least change that lets the run start.

Each combination was seen to fail with transformers 5.23, TRL 1.16 and PEFT 0.21; `tests/recommender` runs them.
"""

from __future__ import annotations

from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.actions.packing import SEES_OTHER_ROWS
from tuning.recommender.facts import Facts
from tuning.recommender.shape import LEARNED_POSITIONS
from tuning.recommender.values import by_user, is_lora, number, whole

_TRANSFORMERS = "transformers 5.23, TrainingArguments"
_TRL = "TRL 1.16, SFTTrainer"
_NEEDS_EVALUATION = ("reduce_lr_on_plateau", "greedy")
_HEADS = ("lm_head", "embed_out")
"""Names that transformers gives to the output layer."""
_WITHOUT_TURNS = ("text", "instruction", "instruction_response", "question_answering", "input_output")
"""Formats whose rows become plain text for TRL."""
_MILLION = 1_000_000
"""What transformers multiplies shares with before it compares them."""


class PaddingFree(Action):
    """Rows in sequences of their own, in models that take no notice of where rows of one sequence end."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Turn off what puts several rows into one sequence."""
        if facts.model is None or facts.model.model_type not in SEES_OTHER_ROWS:
            return None
        joins = [f"training.{name}" for name in ("padding_free", "packing", "eval_packing")]
        asked = [path for path in joins if ir.get(path) is True]
        if not asked:
            return None
        kind = facts.model.model_type
        comment = f"{kind} takes no notice of where the rows of one sequence end, so they would see each other."
        return must(dict.fromkeys(asked, False), comment, "transformers 5.23; the trainer looks, and refuses")


class PositionTable(Action):
    """Sequences within a table of learned positions; a longer one reads beyond its end."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Cut `max_length` down to the table."""
        limit = facts.model.max_position_embeddings if facts.model is not None else None
        length = whole(ir, "training.max_length")
        if facts.model is None or limit is None or length is None or length <= limit:
            return None
        if facts.model.model_type not in LEARNED_POSITIONS:
            return None
        comment = f"{facts.model.model_type} learned {limit:,} positions, and knows none after them."
        return must({"training.max_length": limit}, comment, "torch's Embedding: the index is out of range")


class BestModelCadence(Action):
    """Checkpoints where evaluations are, so that the best of them can be told."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Save as evaluations go: by the same strategy, every so many of its steps."""
        evaluation, saving = ir.get("training.eval_strategy"), ir.get("training.save_strategy", "steps")
        if ir.get("training.load_best_model_at_end") is not True or evaluation not in ("steps", "epoch"):
            return None
        if saving not in ("best", evaluation):
            comment = f"The best model is looked for after each evaluation ({evaluation}); a checkpoint must be there."
            return must({"training.save_strategy": evaluation}, comment, _TRANSFORMERS)
        between, every = number(ir, "training.eval_steps"), number(ir, "training.save_steps")
        if evaluation != "steps" or saving != "steps" or not between or not every or _is_multiple(every, between):
            return None
        steps = round(between * max(1, round(every / between)), 6) if (between < 1) == (every < 1) else between
        steps = steps if _is_multiple(steps, between) else between
        comment = f"The best model is looked for every {between:g} steps; a checkpoint must be at one of them."
        return must({"training.save_steps": steps}, comment, _TRANSFORMERS)


class BestCheckpointMetric(Action):
    """The loss, where only the best checkpoints are saved and nothing says what is best."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Name the metric that every evaluation has."""
        if ir.get("training.save_strategy") != "best" or by_user(ir, "training.metric_for_best_model"):
            return None
        comment = "save_strategy is best, and the trainer must be told by which metric."
        return must({"training.metric_for_best_model": "loss"}, comment, "transformers 5.23, Trainer")


class SchedulerWithoutEvaluation(Action):
    """A rate that needs no evaluation, where there is none."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Hold the rate, as a scheduler does that waits for an evaluation."""
        scheduler = ir.get("training.lr_scheduler_type")
        if scheduler not in _NEEDS_EVALUATION or ir.get("training.eval_strategy", "no") != "no":
            return None
        comment = f"{scheduler} follows the held-out loss, and there is no evaluation; a constant rate is the nearest."
        return must({"training.lr_scheduler_type": "constant_with_warmup"}, comment, _TRANSFORMERS)


class LoaderProcesses(Action):
    """A process that loads batches, where options are set that only such processes have."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Start one, unless the user wants none; then take the options out."""
        names = ("training.dataloader_prefetch_factor", "training.dataloader_persistent_workers")
        given = [name for name in names if ir.get(name) not in (None, False)]
        if not given or (number(ir, "training.dataloader_num_workers") or 0) > 0:
            return None
        told = " and ".join(name.rpartition(".")[2] for name in given)
        comment = f"{told} need a process that loads batches (dataloader_num_workers above 0)."
        if by_user(ir, "training.dataloader_num_workers") is None:
            return must({"training.dataloader_num_workers": 1}, comment, f"{_TRANSFORMERS}; torch's DataLoader")
        return must(dict.fromkeys(given), comment, f"{_TRANSFORMERS}; torch's DataLoader")


class SelectiveCheckpointing(Action):
    """Checkpointing of the kind that can leave out some operations, where that was asked for."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Turn checkpointing on, without reentrance."""
        kwargs = "training.gradient_checkpointing_kwargs"
        if ir.get(f"{kwargs}.selective") is not True:
            return None
        values: dict[str, Any] = {"training.gradient_checkpointing": True}
        if ir.get(f"{kwargs}.use_reentrant") is True:
            values[f"{kwargs}.use_reentrant"] = False
        comment = "gradient_checkpointing_kwargs.selective needs gradient_checkpointing, and use_reentrant false."
        return must(values, comment, _TRL)


class AssistantOnlyLoss(Action):
    """No mask of the assistant's turns, where rows have no turns."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Turn it off for rows that are not conversations."""
        format = facts.data.format if facts.data is not None else None
        if ir.get("training.assistant_only_loss") is not True or format not in _WITHOUT_TURNS:
            return None
        comment = f"The rows are of the format {format}, which has no turns to tell the assistant's from."
        return must({"training.assistant_only_loss": False}, comment, _TRL)


class OutputAdapter(Action):
    """No adapter on the output layer; TRL's loss reads that layer's own weights."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take the output layer out of a list of modules."""
        modules = ir.get("peft.target_modules")
        if not is_lora(ir) or not isinstance(modules, list):
            return None
        kept = [name for name in modules if str(name).rpartition(".")[2] not in _HEADS]
        if len(kept) == len(modules):
            return None
        comment = "TRL works the loss out from the weights of the output layer, and refuses an adapter on it."
        return must({"peft.target_modules": kept or "all-linear"}, comment, _TRL)


class RouterLoss(Action):
    """No loss of the router, where there is none, or where TRL cannot compute it."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take the coefficient out, or set it to 0 where the model's own would count then."""
        path, why = "training.router_aux_loss_coef", _why_no_router_loss(facts)
        if why is None or facts.model is None or by_user(ir, path) == 0:
            return None
        if facts.model.architecture.router_aux_loss_coef is not None:
            return must({path: 0.0}, why, _TRL)
        return must({path: None}, why, _TRL) if ir.get(path) else None


def must(values: dict[str, Any], comment: str, source: str) -> Recommendation:
    """Recommend what the run would crash without."""
    return suggest(values, comment, Kind.COMPATIBILITY, source, Level.MANDATORY)


def _is_multiple(every: float, between: float) -> bool:
    """Tell as transformers does whether the one is a multiple of the other; shares of the steps go with shares only."""
    if every < 1 or between < 1:
        return every < 1 and between < 1 and (every * _MILLION) % (between * _MILLION) == 0
    return every % between == 0


def _why_no_router_loss(facts: Facts) -> str | None:
    """Say why the balance of the router cannot be part of the loss; None: it can, or that is not known."""
    model = facts.model
    if model is None:
        return None
    if model.shape is not None and not model.shape.num_experts:
        return f"{model.model_type} has no experts here, and so no router whose balance could be part of the loss."
    if model.architecture.router_aux_loss_coef is not None and model.architecture.has_num_experts is False:
        return f"TRL looks for num_experts, which the configuration of {model.model_type} calls by another name."
    return None
