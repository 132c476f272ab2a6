"""Work out conditions that have been checked, over all values of each metric."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


class NotSeenError(LookupError):
    """A metric that has no value yet, or not so many."""


def value_of(node: ast.AST, values: Mapping[str, Sequence[float]]) -> Any:
    """Work out a checked part: a number, a list of numbers, or true or false."""
    match node:
        case ast.Constant():
            return node.value if isinstance(node.value, bool) else float(node.value)  # pyright: ignore[reportArgumentType]
        case ast.Name():
            return _at_index(values.get(node.id, ()), -1)
        case ast.UnaryOp():
            return _unary_value(node.op, value_of(node.operand, values))
        case ast.BinOp():
            return _calculated(ARITHMETIC[type(node.op)], value_of(node.left, values), value_of(node.right, values))
        case ast.BoolOp():
            combine = all if isinstance(node.op, ast.And) else any
            return combine(value_of(each, values) for each in node.values)
        case ast.Compare():
            numbers = [value_of(each, values) for each in (node.left, *node.comparators)]
            pairs = zip(node.ops, numbers, numbers[1:], strict=False)
            return all(COMPARISONS[type(each)](left, right) for each, left, right in pairs)
        case ast.Subscript():
            return _chosen(_history_value(node.value, values), node.slice)
        case ast.Call(func=ast.Name(id=name)):
            return _called(name, node.args, values)
    raise AssertionError(f"{ast.dump(node)} was not checked")


def _unary_value(op: ast.unaryop, value: Any) -> Any:
    if isinstance(op, ast.Not):
        return not value
    return -value if isinstance(op, ast.USub) else value


def _calculated(function: Callable[[float, float], float], left: float, right: float) -> float:
    """Calculate as floats do: what has no value is not a number, and no comparison is true of that."""
    try:
        return function(left, right)
    except ZeroDivisionError:
        return math.nan
    except OverflowError:
        return math.inf


def _history_value(node: ast.AST, values: Mapping[str, Sequence[float]]) -> Sequence[float]:
    return values.get(node.id, ()) if isinstance(node, ast.Name) else value_of(node, values)


def _chosen(history: Sequence[float], index: ast.expr) -> Any:
    if isinstance(index, ast.Slice):
        lower, upper = (None if each is None else int(ast.literal_eval(each)) for each in (index.lower, index.upper))
        return history[lower:upper]
    return _at_index(history, int(ast.literal_eval(index)))


def _at_index(history: Sequence[float], index: int) -> float:
    if not -len(history) <= index < len(history):
        raise NotSeenError
    return history[index]


def _called(name: str, arguments: Sequence[ast.expr], values: Mapping[str, Sequence[float]]) -> float:
    if name == "abs":
        return abs(value_of(arguments[0], values))
    if len(arguments) > 1:
        return (max if name == "max" else min)(value_of(each, values) for each in arguments)
    history = _history_value(arguments[0], values)
    if name == "len":
        return float(len(history))
    if not history:
        raise NotSeenError
    return (max if name == "max" else min)(history)
