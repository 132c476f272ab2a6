"""Translate the conditions of fms-hf-tuning's trainer controller: its metrics are objects with keys, ours are names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from tuning.control.expressions import ExpressionError, parse_tree, refusal

CLASSES = ("EvalMetrics", "HistoryBasedMetric", "Loss", "PerProcessState", "TrainingState")

_STATE = {"epoch": "epoch", "global_step": "step", "max_steps": "max_steps"}
"""Keys of TrainingState -> our names."""
_LOSS = "loss"
_DEFAULT_WINDOW = 1


def translated(text: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a condition in our language; `metrics` are the document's, by their names.

    Raises:
        ExpressionError: it is no condition, or reads something that has no counterpart here.
    """
    if not text:
        raise ExpressionError("expected a condition")
    return ast.unparse(ast.fix_missing_locations(_Translation(metrics).visit(parse_tree(text))))


class _Translation(ast.NodeTransformer):
    """Replace what reads a metric of the document; everything else stays, and is checked as our language is."""

    def __init__(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        self.metrics = metrics
        self._by_class: dict[str, Callable[[ast.expr, list[Any], Mapping[str, Any]], ast.expr]] = {
            "EvalMetrics": _of_evaluation,
            "HistoryBasedMetric": _of_window,
            "Loss": _of_loss,
            "TrainingState": _of_state,
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Translate a metric that is read as a whole."""
        return self._translated(node, node.id, []) if node.id in self.metrics else node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Leave the function's name as it is: a metric may have the same."""
        return ast.copy_location(ast.Call(node.func, [self.visit(each) for each in node.args], node.keywords), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        """Translate the keys that a metric is read with; an index after them stays."""
        root, keys = _keys(node)
        if isinstance(root, ast.Name) and root.id in self.metrics:
            return self._translated(node, root.id, keys)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """Read `metric != None` as: it has had a value."""
        right = node.comparators[0]
        if len(node.ops) > 1 or not isinstance(right, ast.Constant) or right.value is not None:
            return self.generic_visit(node)  # pyright: ignore[reportReturnType]
        if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            raise refusal(node, "None can be compared by == and != alone")
        length = ast.Call(ast.Name("len"), [self.visit(node.left)], [])
        comparison = ast.Gt() if isinstance(node.ops[0], ast.NotEq) else ast.Eq()
        return ast.copy_location(ast.Compare(length, [comparison], [ast.Constant(0)]), node)

    def _translated(self, node: ast.expr, name: str, keys: list[Any]) -> ast.expr:
        metric = self.metrics[name]
        translate = self._by_class.get(str(metric.get("class")))
        if translate is None:
            raise refusal(node, f"{name} differs from one process to another, and all of them must decide alike")
        return translate(node, keys, metric.get("arguments") or {})


def _keys(node: ast.expr) -> tuple[ast.expr, list[Any]]:
    """Return what a chain of keys and indices starts at, and the chain: texts, and other indices as they are."""
    keys: list[Any] = []
    while isinstance(node, ast.Subscript):
        index = node.slice
        keys.insert(0, index.value if isinstance(index, ast.Constant) and isinstance(index.value, str) else index)
        node = node.value
    return node, keys


def _of_loss(node: ast.expr, keys: list[Any], arguments: Mapping[str, Any]) -> ast.expr:
    return _indexed(node, ast.Name(_LOSS), keys)


def _of_state(node: ast.expr, keys: list[Any], arguments: Mapping[str, Any]) -> ast.expr:
    if len(keys) != 1 or keys[0] not in _STATE:
        raise refusal(node, f"of the Trainer's state a rule can read {', '.join(_STATE)}")
    return ast.Name(_STATE[keys[0]])


def _of_evaluation(node: ast.expr, keys: list[Any], arguments: Mapping[str, Any]) -> ast.expr:
    if not keys or not isinstance(keys[0], str):
        raise refusal(node, "expected the name of a score, such as eval_loss, in brackets")
    return _indexed(node, ast.Name(keys[0]), keys[1:])


def _of_window(node: ast.expr, keys: list[Any], arguments: Mapping[str, Any]) -> ast.expr:
    """Translate a window: of training losses, or of an evaluation's scores in either order that releases have."""
    window = arguments.get("window_size", _DEFAULT_WINDOW)
    if type(window) is not int or window == 0:
        raise ExpressionError(f"window_size: expected a whole number other than 0, got {window!r}")
    match keys:
        case ["window_size"]:
            return ast.Constant(window)
        case ["training_loss", "loss", *rest] | ["loss", *rest]:
            return _indexed(node, _last(_LOSS, window), rest)
        case ["metrics", str(score), *rest]:
            return _indexed(node, _last(score, window), rest)
        case ["metrics", index, str(score)]:
            return _indexed(node, _last(score, window), [index])
        case ["metrics"]:
            return _last("eval_loss", window)
    raise refusal(node, 'of a window a rule can read ["training_loss"]["loss"], ["metrics"][name] and ["window_size"]')


def _last(name: str, window: int) -> ast.expr:
    """Return the last values of a metric; a window below 0 holds all of them."""
    if window < 0:
        return ast.Name(name)
    return ast.Subscript(ast.Name(name), ast.Slice(lower=ast.UnaryOp(ast.USub(), ast.Constant(window))))


def _indexed(node: ast.expr, value: ast.expr, indices: list[Any]) -> ast.expr:
    for index in indices:
        if isinstance(index, str):
            raise refusal(node, f"there is no key '{index[:50]}' to read here")
        value = ast.Subscript(value, index)
    return value
