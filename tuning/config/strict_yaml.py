"""Read YAML as people mean it: `2e-5` is a number, `no` is a word, a key stands once, no tag makes an object."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tuning.errors import Problem

_MOST_NODES = 100_000
"""More nodes than any configuration has; aliases that multiply ("billion laughs") are refused above it."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and the booleans of YAML 1.2."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_yaml(text: str) -> tuple[Any, list[Problem]]:
    """Read one YAML document; a duplicate key and a number that is not finite are problems.

    Raises:
        yaml.YAMLError: the text is not YAML, or its aliases are cyclic or multiply without bound.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        problems: list[Problem] = []
        _check(node, problems, [], [_MOST_NODES])
        return (loader.construct_document(node) if node is not None else {}), problems
    finally:
        loader.dispose()


def _check(node: Any, problems: list[Problem], parents: list[Any], budget: list[int]) -> None:
    budget[0] -= 1
    if budget[0] < 0 or node in parents:
        raise yaml.YAMLError("its aliases are cyclic or multiply without bound")
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, problems)
        for pair in node.value:
            for child in pair:
                _check(child, problems, [*parents, node], budget)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _check(child, problems, [*parents, node], budget)
    elif node is not None and node.tag.endswith(":float") and re.search(r"(?i)\.(inf|nan)$", node.value):
        problems.append(Problem(_line(node), "the number is not finite; give a finite one", node.value))


def _check_keys(node: yaml.MappingNode, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        name = str(key.value)
        if name in seen:
            problems.append(Problem(name, f"the key stands twice in one mapping ({_line(key)}); keep one", name))
        seen.add(name)


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}"
