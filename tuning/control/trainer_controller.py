"""Read a file of rules as fms-hf-tuning's trainer controller has them, and say the same in rules of ours.

Source: tuning/trainercontroller and examples/trainercontroller_configs of fms-hf-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from tuning.config.control_fields import Operation, Trigger
from tuning.config.ir import IR
from tuning.config.locations import located
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.control.controller_rules import CLASSES, translated
from tuning.control.expressions import ExpressionError
from tuning.errors import ConfigError, Problem, reason_of
from tuning.registry import did_you_mean

_FILE = "trainer_control.trainer_controller_config_file"
_RULES = "trainer_control.rules"
_TOP = ("controller_metrics", "operations", "controllers")
_OPERATION_CLASSES = ("HFControls", "HFControlsWithPatience", "LogControl")
_MODES = ("reset_on_failure", "no_reset_on_failure")


def with_controllers(ir: IR, problems: Sequence[Problem] = ()) -> IR:
    """Put the rules of the file that a document names before the document's own, and forget the file's name.

    Raises:
        ConfigError: the file cannot be used; holds `problems`, which were found before, too.
    """
    path, own = ir.get(_FILE), ir.get(_RULES) or []
    if not isinstance(path, str) or not isinstance(own, list):
        return ir
    try:
        rules = read_controllers(path)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    sources = [f"file {path}", *([ir.sources[_RULES]] if own else [])]
    return ir.without(_FILE).merge({"trainer_control": {"rules": [*rules, *own]}}, " and ".join(sources))


def read_controllers(path: str) -> list[dict[str, Any]]:
    """Read the rules of a YAML or JSON file.

    Raises:
        ConfigError: with everything in it that cannot be used.
    """
    source = f"file {path}"
    try:
        document, problems = load_yaml(read_text(path))
    except OSError as error:
        raise ConfigError([Problem(_FILE, f"cannot be read: {error.strerror or error}", path, "its name")]) from error
    except ValueError as error:
        raise ConfigError([Problem(path, f"the document cannot be read: {reason_of(error)}")]) from error
    reader = _Reader(problems)
    rules = reader.rules(_plain(document))
    if reader.problems:
        found = (Problem(each.path, each.expected, each.value, source, each.hint) for each in reader.problems)
        raise ConfigError(located(found))
    return rules


def _plain(node: Any) -> Any:
    """Write keys with underscores, as newer releases do; older ones have `window-size`."""
    if isinstance(node, Mapping):
        return {str(key).replace("-", "_"): _plain(value) for key, value in node.items()}
    return [_plain(each) for each in node] if isinstance(node, list) else node


class _Reader:
    """Read one document, and collect what is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)

    def rules(self, document: Any) -> list[dict[str, Any]]:
        """Return the rules of the document as far as they can be read."""
        if not isinstance(document, Mapping):
            self.problems.append(Problem("controllers", "expected an object with the key controllers", document))
            return []
        for key in document.keys() - set(_TOP):
            self.problems.append(Problem(key, "there is no such key", document[key], hint=did_you_mean(key, [*_TOP])))
        metrics = {name: each for name, each in self._named(document, "controller_metrics", CLASSES)}
        operations = {name: each for name, each in self._named(document, "operations", _OPERATION_CLASSES)}
        operations.setdefault("hfcontrols", {"class": "HFControls"})
        return [
            self._rule(f"controllers[{number}]", controller, metrics, operations)
            for number, controller in self._objects(document, "controllers")
        ]

    def _objects(self, document: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        found = document.get(key) or []
        if not isinstance(found, list):
            self.problems.append(Problem(key, "expected a list", found))
            return
        for number, each in enumerate(found):
            if isinstance(each, Mapping) and isinstance(each.get("name"), str):
                yield number, each
            else:
                self.problems.append(Problem(f"{key}[{number}]", "expected an object with a name", each))

    def _named(self, document: Mapping[str, Any], key: str, classes: Sequence[str]) -> Iterator[tuple[str, Any]]:
        for number, each in self._objects(document, key):
            name, kind = each["name"], str(each.get("class"))
            if kind not in classes:
                hint = did_you_mean(kind, [*classes])
                self.problems.append(
                    Problem(f"{key}[{number}].class", f"{name}: there is no such class", kind, hint=hint)
                )
            yield name, {**each, "arguments": each.get("arguments") or {}}

    def _rule(self, path: str, controller: Mapping[str, Any], metrics: Any, operations: Any) -> dict[str, Any]:
        name = controller["name"]
        rule: dict[str, Any] = {"name": name, "when": self._condition(path, controller, metrics)}
        rule["triggers"] = self._triggers(path, controller)
        actions = [self._operation(path, each, operations) for each in _listed(controller.get("operations"))]
        rule["operations"] = [each for each in actions if each is not None]
        patience = self._patience(path, controller, operations)
        threshold, mode = patience.get("patience_threshold", 1), patience.get("mode", _MODES[0])
        if mode not in _MODES or type(threshold) is not int or threshold < 0:
            expected = f"{name}: expected patience_threshold, a whole number, and mode, one of: {', '.join(_MODES)}"
            self.problems.append(Problem(f"{path}.patience", expected, patience))
        elif patience:
            rule |= {"patience": threshold, "reset_patience": mode == _MODES[0]}
        return rule

    def _condition(self, path: str, controller: Mapping[str, Any], metrics: Any) -> str:
        rule = controller.get("rule")
        rule = rule.get("rule_str") if isinstance(rule, Mapping) else rule
        text = str(rule) if isinstance(rule, (str, bool)) else ""
        try:
            return translated(text, metrics)
        except ExpressionError as error:
            self.problems.append(Problem(f"{path}.rule", f"rule {controller['name']}: {error}", rule, hint=error.hint))
            return text

    def _triggers(self, path: str, controller: Mapping[str, Any]) -> list[str]:
        triggers, known = _listed(controller.get("triggers")), get_args(Trigger)
        if not triggers or not all(each in known for each in triggers):
            expected = f"{controller['name']}: expected a list of: {', '.join(known)}"
            self.problems.append(Problem(f"{path}.triggers", expected, controller.get("triggers")))
        return triggers

    def _operation(self, path: str, written: Any, operations: Mapping[str, Any]) -> str | None:
        """Return a switch of the Trainer; None: the operation only writes to the log, as every rule does here."""
        owner, _, action = str(written).partition(".")
        known = get_args(Operation)
        kind = operations.get(owner, {}).get("class")
        if kind == "LogControl" and action == "should_log":
            return None
        if kind not in ("HFControls", "HFControlsWithPatience") or action not in known:
            hint = did_you_mean(str(written), [f"hfcontrols.{each}" for each in known])
            self.problems.append(Problem(f"{path}.operations", "there is no such operation", written, hint=hint))
        return action

    def _patience(self, path: str, controller: Mapping[str, Any], operations: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the patience of a rule, or, as older releases have it, of its operation."""
        owners = (operations.get(str(each).partition(".")[0], {}) for each in _listed(controller.get("operations")))
        older = [each["arguments"] for each in owners if each.get("class") == "HFControlsWithPatience"]
        patience = controller.get("patience") or next(iter(older), {})
        if isinstance(patience, Mapping):
            return patience
        self.problems.append(Problem(f"{path}.patience", "expected an object with patience_threshold", patience))
        return {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
