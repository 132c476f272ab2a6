"""Carry out the rules of a run inside the Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuning.config.schema import TuningConfig
from tuning.control.metrics import History
from tuning.control.rules import STOP, Rule, rules_of
from tuning.control.state import ControlState
from tuning.trackers.tracker import Tracker

logger = logging.getLogger(__name__)

PARAMS = "trainer_control"


def control_callbacks(config: TuningConfig, tracker: Tracker) -> list[TrainerCallback]:
    """Return the callback that carries out the run's rules; none where there are none."""
    rules = rules_of(config)
    return [ControlCallback(rules, tracker)] if rules else []


class ControlCallback(TrainerCallback):
    """Look at each rule at its events, and set the Trainer's switches for those that are true.

    All processes see the same metrics, and so decide alike. What a rule has counted is kept in the state that the
    Trainer saves with each checkpoint; the values of metrics are read back from the log that stands there, too.
    """

    def __init__(self, rules: tuple[Rule, ...], tracker: Tracker) -> None:
        self.rules = rules
        self.tracker = tracker
        self.history = History()
        self.memory = ControlState()
        self.is_training = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up what an interrupted run has seen and counted; let losses that are not finite be seen at all."""
        args.logging_nan_inf_filter = False
        self.history, self.memory = History(), ControlState.of(state.stateful_callbacks)
        self.memory.stopped_by = None
        for entry in state.log_history:
            self.history.add(entry)
        self.history.earlier_seconds = self.memory.seconds
        self.is_training = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the rules of each step."""
        self._look("on_step_end", args, state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note what was logged, and look at the rules of log entries; the summary at the end is none."""
        if self.is_training and logs and "train_runtime" not in logs:
            self.history.add(logs)
            if "eval_loss" not in logs:
                self._look("on_log", args, state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the rules of each evaluation; its metrics came with the log entry before."""
        self._look("on_evaluate", args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at the rules of each epoch; one that a stop has cut short is none."""
        is_whole = state.global_step == state.max_steps or float(state.epoch or 0.0).is_integer()
        if control.should_training_stop and not is_whole:
            return
        self._look("on_epoch_end", args, state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look at nothing more: evaluations after the training change nothing."""
        self.is_training = False

    def _look(self, event: str, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if not self.is_training:
            return
        self.history.move_to(state.global_step, state.epoch, state.max_steps)
        for rule in self.rules:
            if event not in rule.triggers or self._is_over_for(rule):
                continue
            if self.memory.acts(rule, self._is_true(rule, args)):
                self._fire(rule, args, state, control)
        self.memory.seconds = self.history.seconds
        self.memory.write(state.stateful_callbacks)

    def _is_over_for(self, rule: Rule) -> bool:
        """Tell whether another rule, or this one at an earlier event of the step, has stopped the training already."""
        return self.memory.stopped_by is not None and STOP in rule.operations

    def _is_true(self, rule: Rule, args: TrainingArguments) -> bool | None:
        found = rule.looks(self.history)
        return _of_first_rank(bool(found), args) if rule.by_clock else found

    def _fire(self, rule: Rule, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        """Set the switches; a stop saves a checkpoint too, so that the same command finds the run at its end."""
        for operation in rule.operations:
            setattr(control, operation, True)
        if STOP in rule.operations:
            self.memory.stopped_by = rule.text
            control.should_save = control.should_save or args.save_strategy != "no"
        if state.is_world_process_zero:
            self._record(rule, state)

    def _record(self, rule: Rule, state: TrainerState) -> None:
        metrics = {name: value for name in rule.metrics if (value := self.history.latest(name)) is not None}
        told = ", ".join(f"{name}={value:g}" for name, value in metrics.items())
        operations = ", ".join(rule.operations) or "recorded only"
        shown = f" ({told})" if told else ""
        logger.info("step %d: rule %s: %s%s: %s", state.global_step, rule.name, rule.text, shown, operations)
        count = self.memory.fired[rule.name]
        self.tracker.track(count, rule.name, stage="control", step=state.global_step)
        if count == 1 or STOP in rule.operations:
            event = {"step": state.global_step, "epoch": state.epoch, "when": rule.text, "metrics": metrics}
            self.tracker.set_params({rule.name: {**event, "operations": operations}}, name=PARAMS)


def _of_first_rank(decision: bool, args: TrainingArguments) -> bool:
    """Return what the first process has decided."""
    if args.world_size == 1:
        return decision
    flag = torch.tensor(int(decision and args.process_index == 0), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)
