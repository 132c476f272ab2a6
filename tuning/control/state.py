"""What rules have counted: kept in the state that the Trainer saves, and read back where a run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.control.rules import Rule, rules_of

STATE_KEY = "TrainerControlRules"
"""Where in the Trainer's `stateful_callbacks` it stands; no class has this name, so the Trainer rebuilds nothing."""


@dataclass
class ControlState:
    """Times that each rule's condition was true in a row, and that it acted; seconds of earlier attempts."""

    waits: dict[str, int] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_by: str | None = None
    """Text of the rule that has ended the training."""

    @classmethod
    def of(cls, stateful_callbacks: Any) -> ControlState:
        """Read what `write` has written; a state without it is that of a new run."""
        stored = stateful_callbacks.get(STATE_KEY) if isinstance(stateful_callbacks, Mapping) else None
        attributes = stored.get("attributes") if isinstance(stored, Mapping) else None
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in dict(attributes or {}).items() if name in names})

    def write(self, stateful_callbacks: Any) -> None:
        """Put it among the states of callbacks, in the form that the Trainer uses."""
        stateful_callbacks[STATE_KEY] = {"args": {}, "attributes": asdict(self)}

    def acts(self, rule: Rule, is_true: bool | None) -> bool:
        """Count one look at a rule, and tell whether it acts now; its patience starts anew after that."""
        if is_true is None:
            return False
        count = (
            self.waits.get(rule.name, 0) + 1 if is_true else self.waits.get(rule.name, 0) * (not rule.reset_patience)
        )
        acts = is_true and count > rule.patience
        self.waits[rule.name] = 0 if acts else count
        self.fired[rule.name] = self.fired.get(rule.name, 0) + acts
        return acts


def stopped_by(config: TuningConfig, checkpoint: str | Path) -> str | None:
    """Return what ended the training that a checkpoint stands at the end of; None: no rule, or one that is gone now."""
    try:
        state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = ControlState.of(state.get("stateful_callbacks")).stopped_by if isinstance(state, Mapping) else None
    return text if text in {rule.text for rule in rules_of(config)} else None
