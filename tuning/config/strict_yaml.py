"""Read YAML as people mean it: `2e-5` is a number, `no` is a word, a key stands once, no tag makes an object."""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING, Any, ClassVar

from tuning.errors import Problem

if TYPE_CHECKING:
    from yaml import MappingNode, SafeLoader

_TAG = "tag:yaml.org,2002:"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_FLOAT = re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_MOST_NODES = 100_000
"""More nodes than any configuration has; aliases that multiply ("billion laughs") are refused above it."""


def load_yaml(text: str) -> tuple[Any, list[Problem]]:
    """Read one YAML document; a duplicate key and a number that is not finite are problems.

    Raises:
        ValueError: the text is not YAML, is nested too deeply, or its aliases are cyclic or multiply without bound.
    """
    from yaml import YAMLError  # a configuration in JSON needs none of it

    try:
        return _read(_loader()(text))
    except YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (LookupError, AttributeError) as error:  # what PyYAML raises on `!!int ""` and `!!timestamp soon`
        raise ValueError("a tag does not fit its value") from error


def _read(loader: SafeLoader) -> tuple[Any, list[Problem]]:
    try:
        node = loader.get_single_node()
        problems: list[Problem] = []
        if node is None:
            return {}, problems
        _check(node, problems, [], [_MOST_NODES])
        return loader.construct_document(node), problems
    finally:
        loader.dispose()


@functools.cache
def _loader() -> type[SafeLoader]:
    from yaml import SafeLoader

    class Loader(SafeLoader):
        """PyYAML's safe loader with the numbers and the booleans of YAML 1.2."""

        yaml_implicit_resolvers: ClassVar[Any] = {
            first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool"))]
            for first, resolvers in SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver(f"{_TAG}bool", _BOOL, list("tTfF"))
    Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
    return Loader


def _check(node: Any, problems: list[Problem], parents: list[Any], budget: list[int]) -> None:
    budget[0] -= 1
    if budget[0] < 0 or node in parents:
        raise ValueError("its aliases are cyclic or multiply without bound")
    if node.id == "mapping":
        _check_keys(node, problems)
        for pair in node.value:
            for child in pair:
                _check(child, problems, [*parents, node], budget)
    elif node.id == "sequence":
        for child in node.value:
            _check(child, problems, [*parents, node], budget)
    elif node.tag.endswith(":float") and not _is_finite(node.value):
        problems.append(Problem(_line(node), "the number is not finite; give a finite one", node.value))


def _is_finite(number: str) -> bool:
    try:
        return math.isfinite(float(number.replace("_", "")))
    except ValueError:  # `.inf` and `.nan`, or a number to the base 60
        return not re.search(r"(?i)\.(inf|nan)$", number)


def _check_keys(node: MappingNode, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        name = str(key.value)
        if name in seen:
            problems.append(Problem(name, f"the key stands twice in one mapping ({_line(key)}); keep one", name))
        seen.add(name)


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"
