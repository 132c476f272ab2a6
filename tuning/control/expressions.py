"""Conditions over metrics: a small language that is parsed, checked against a list of what it may hold, and walked.

Nothing of it is ever compiled or run as Python: what is not on the list is refused before a run starts.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.control.expression_values import ARITHMETIC, COMPARISONS, value_of
from tuning.registry import did_you_mean

LONGEST_EXPRESSION = 1000
"""Characters."""
DEEPEST_EXPRESSION = 20
MOST_NODES = 200
LARGEST_NUMBER = 1e18
LARGEST_POWER = 10

FUNCTIONS = ("abs", "len", "max", "min")

_NUMBER, _HISTORY, _TRUTH = "a number", "the values of a metric", "true or false"
_REFUSED: dict[type[ast.AST], str] = {
    ast.Attribute: "an attribute",
    ast.Await: "await",
    ast.Dict: "a dictionary",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.IfExp: "if … else",
    ast.JoinedStr: "a text",
    ast.Lambda: "a function",
    ast.List: "a list",
    ast.ListComp: "a comprehension",
    ast.NamedExpr: "an assignment",
    ast.Set: "a set",
    ast.SetComp: "a comprehension",
    ast.Starred: "a star",
    ast.Tuple: "a tuple",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}
_HOW = (
    "Conditions hold numbers, metrics, comparisons, and/or/not, + - * / // % **, abs, len, max, min and metric[index]"
)


class ExpressionError(ValueError):
    """What a condition may not hold, and where in it that stands; `hint` says what may be meant."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Expression:
    """A checked condition; `names` are the metrics that it reads."""

    text: str
    tree: ast.expr
    names: frozenset[str]

    def holds(self, values: Mapping[str, Sequence[float]]) -> bool:
        """Tell whether the condition is true of all values of each metric so far, oldest first.

        Raises:
            NotSeenError: a metric has no value yet, or not so many.
        """
        return bool(value_of(self.tree, values))


def parse(text: str, known: Collection[str]) -> Expression:
    """Read a condition over the metrics in `known`.

    Raises:
        ExpressionError: it holds something else than the language has; says what, and where.
    """
    tree = parse_tree(text)
    check = _Check(known)
    if (kind := check.kind(tree)) != _TRUTH:
        raise ExpressionError(f"expected a comparison, and the whole is {kind}")
    return Expression(text, tree, frozenset(check.names))


def parse_tree(text: str) -> ast.expr:
    """Parse one expression of bounded length, depth and size; nothing in it is checked further.

    Raises:
        ExpressionError: it is no expression, or too large.
    """
    if len(text) > LONGEST_EXPRESSION:
        raise ExpressionError(f"longer than {LONGEST_EXPRESSION} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of what is refused below anyway
            tree = ast.parse(" ".join(text.split()), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"{_at(error.offset)}it is no expression ({error.msg})") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError("it is no expression, or is nested too deeply") from error
    _check_size(tree)
    return tree


def refusal(node: ast.AST, message: str, hint: str | None = None) -> ExpressionError:
    """Make the error about one part of an expression."""
    return ExpressionError(f"{_at(getattr(node, 'col_offset', -1) + 1)}{message}", hint)


def _at(column: int | None) -> str:
    return f"at character {column}: " if column else ""


def _check_size(tree: ast.expr) -> None:
    level: list[ast.AST] = [tree]
    num_nodes = 0
    for _ in range(DEEPEST_EXPRESSION):
        num_nodes += len(level)
        children = (child for node in level for child in ast.iter_child_nodes(node))
        level = [child for child in children if isinstance(child, ast.expr)]
        if num_nodes > MOST_NODES:
            raise ExpressionError(f"holds more than {MOST_NODES} parts")
        if not level:
            return
    raise ExpressionError(f"nested more than {DEEPEST_EXPRESSION} levels deep")


class _Check:
    """Find out of what kind each part is, and refuse what is of none."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self.names: set[str] = set()
        self._kinds: dict[type[ast.AST], Callable[[Any], str]] = {
            ast.BinOp: self._arithmetic,
            ast.BoolOp: self._logic,
            ast.Call: self._call,
            ast.Compare: self._comparison,
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Subscript: self._subscript,
            ast.UnaryOp: self._unary,
        }

    def kind(self, node: ast.AST) -> str:
        """Return the kind of a part."""
        find = self._kinds.get(type(node))
        if find is None:
            raise refusal(node, f"{_REFUSED.get(type(node), type(node).__name__)} is not allowed. {_HOW}")
        return find(node)

    def _expect(self, node: ast.expr, wanted: str) -> None:
        if (kind := self.kind(node)) != wanted:
            raise refusal(node, f"expected {wanted}, and this is {kind}")

    def _constant(self, node: ast.Constant) -> str:
        if isinstance(node.value, bool):
            return _TRUTH
        if not isinstance(node.value, (int, float)):
            raise refusal(node, f"a constant of type {type(node.value).__name__} is not allowed. {_HOW}")
        if not abs(node.value) <= LARGEST_NUMBER:
            raise refusal(node, f"a number above {LARGEST_NUMBER:g} is not allowed")
        return _NUMBER

    def _name(self, node: ast.Name) -> str:
        if node.id not in self.known:
            name = node.id[:50]
            raise refusal(node, f"there is no metric '{name}'", did_you_mean(name, sorted(self.known)))
        self.names.add(node.id)
        return _NUMBER

    def _arithmetic(self, node: ast.BinOp) -> str:
        if type(node.op) not in ARITHMETIC:
            raise refusal(node, f"the operator {type(node.op).__name__} is not allowed. {_HOW}")
        self._expect(node.left, _NUMBER)
        self._expect(node.right, _NUMBER)
        if isinstance(node.op, ast.Pow) and not _is_whole(node.right, 0, LARGEST_POWER):
            raise refusal(node.right, f"expected a power that is a whole number from 0 to {LARGEST_POWER}")
        return _NUMBER

    def _unary(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.Invert):
            raise refusal(node, f"the operator ~ is not allowed. {_HOW}")
        kind = _TRUTH if isinstance(node.op, ast.Not) else _NUMBER
        self._expect(node.operand, kind)
        return kind

    def _logic(self, node: ast.BoolOp) -> str:
        for each in node.values:
            self._expect(each, _TRUTH)
        return _TRUTH

    def _comparison(self, node: ast.Compare) -> str:
        for comparison in node.ops:
            if type(comparison) not in COMPARISONS:
                raise refusal(node, f"the comparison {type(comparison).__name__} is not allowed. {_HOW}")
        for each in (node.left, *node.comparators):
            self._expect(each, _NUMBER)
        return _TRUTH

    def _call(self, node: ast.Call) -> str:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in FUNCTIONS or node.keywords or not node.args:
            raise refusal(node, f"this call is not allowed: there are {', '.join(FUNCTIONS)} with values in brackets")
        if name in ("max", "min") and len(node.args) > 1:
            for each in node.args:
                self._expect(each, _NUMBER)
        elif len(node.args) > 1:
            raise refusal(node, f"{name} takes one value")
        elif name == "abs":
            self._expect(node.args[0], _NUMBER)
        elif self._history(node.args[0]) != _HISTORY:
            raise refusal(node, f"{name} of one value takes a metric, such as {name}(loss)")
        return _NUMBER

    def _subscript(self, node: ast.Subscript) -> str:
        if self._history(node.value) != _HISTORY:
            raise refusal(node, "only a metric has values to choose from, such as loss[-1]")
        if isinstance(node.slice, ast.Slice):
            bounds = (node.slice.lower, node.slice.upper)
            if node.slice.step is not None or not all(each is None or _is_whole(each) for each in bounds):
                raise refusal(node, "expected whole numbers, as in loss[-5:]")
            return _HISTORY
        if not _is_whole(node.slice):
            raise refusal(node, "expected a whole number, as in loss[-1]")
        return _NUMBER

    def _history(self, node: ast.expr) -> str:
        """Return the kind of what stands before an index: there a metric means all of its values."""
        kind = self.kind(node)
        return _HISTORY if isinstance(node, ast.Name) else kind


def _is_whole(node: ast.expr, least: float = -LARGEST_NUMBER, most: float = LARGEST_NUMBER) -> bool:
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    constant = node.operand if isinstance(node, ast.UnaryOp) and negative else node
    number = constant.value if isinstance(constant, ast.Constant) else None
    return type(number) is int and least <= (-number if negative else number) <= most
