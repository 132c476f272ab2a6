"""The section of a run's configuration that watches the training and acts on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tuning.config.section import Section
from tuning.config.types import Count, Flag, Integer, NotNegative, Positive, Text

Trigger = Literal["on_step_end", "on_log", "on_evaluate", "on_epoch_end"]
Operation = Literal["should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log"]


class ControlRule(Section):
    """A condition over metrics, and what follows when it is true."""

    name: Text | None = None
    """Name in messages and records. None: rule_1, rule_2 …"""
    when: Text
    """Condition, such as `loss > 5 and step > 20`. Required."""
    triggers: Annotated[list[Trigger], Field(min_length=1)] | None = None
    """Events at which the condition is looked at. None: the one that brings its metrics."""
    operations: list[Operation] | None = None
    """Switches of the Trainer to set; an empty list only records it. None: should_training_stop."""
    patience: Annotated[Integer, Field(ge=0)] = 0
    """Times in a row that the condition may be true before the rule acts."""
    reset_patience: Flag = True
    """Start to count anew when the condition is false; false: count on."""


class TrainerControl(Section):
    """Rules that stop the training, save or evaluate; each time is logged and recorded."""

    stop_on_nan: Flag = False
    """Stop when the training or evaluation loss is not a finite number."""
    early_stopping_patience: Count | None = None
    """Stop after so many evaluations without improvement of metric_for_best_model (None: eval_loss). None: never."""
    early_stopping_threshold: NotNegative = 0.0
    """Least improvement that counts, in the metric's own unit."""
    save_on_improvement: Flag = False
    """Save a checkpoint after every evaluation that is the best so far."""
    loss_spike_factor: Annotated[Positive, Field(gt=1)] | None = None
    """Stop when the training loss is above its recent mean times this. None: never."""
    loss_spike_window: Count = 20
    """Log entries that make the recent mean."""
    plateau_window: Count | None = None
    """Stop when the mean training loss of so many log entries is no lower than that of as many before. None: never."""
    plateau_threshold: Annotated[NotNegative, Field(lt=1)] = 0.001
    """Share by which the mean has to fall to count as lower, 0 to 1."""
    overfit_gap: Positive | None = None
    """Stop when the evaluation loss is above the mean training loss since the last one by more, nats. None: never."""
    time_budget_minutes: Positive | None = None
    """Stop after so many minutes of training, those before an interruption included. None: never."""
    token_budget: Count | None = None
    """Stop when so many tokens have been trained on; seen at each log entry. None: never."""
    rules: list[ControlRule] | None = None
    """Conditions of your own. None: none."""
    trainer_controller_config_file: Text | None = None
    """YAML file of rules, as fms-hf-tuning's trainer controller reads it; they come before `rules`."""
