from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from tuning.data.handler_arguments import with_lists, wrong_arguments


def annotated(annotation: Any) -> Callable[..., None]:
    def function(row: Mapping[str, Any], value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    return function


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (str, ["a", ""], [1, None, ["a"]]),
        (int, [1], ["1", True, 1.5]),
        (float, [1, 1.5], ["1", False]),
        (bool, [True], [1, "true"]),
        (int | None, [1, None], ["1"]),
        (list[str], [["a"], []], ["a", [1]]),
        (Sequence[int], [[1]], [["a"], 1]),
        (Mapping[str, int], [{"a": 1}, {}], [{"a": "b"}, {1: 1}, ["a"]]),
        (Literal["a", "b"], ["a"], ["c"]),
        ("int", [1], ["1"]),
    ],
)
def test_an_argument_is_compared_with_its_annotation(annotation: Any, right: list[Any], wrong: list[Any]) -> None:
    function = annotated(annotation)
    assert [value for value in right if [*wrong_arguments(function, {"value": value})]] == []
    assert [value for value in wrong if not [*wrong_arguments(function, {"value": value})]] == []


@pytest.mark.parametrize("annotation", [Any, "of_another_package", object, Callable[[int], int]])
def test_an_annotation_that_says_nothing_here_allows_anything(annotation: Any) -> None:
    assert [*wrong_arguments(annotated(annotation), {"value": {"a": 1}, "other": 2})] == []


def test_a_single_name_is_a_list_of_one_only_where_text_is_not_allowed() -> None:
    assert with_lists(annotated(Sequence[str]), {"value": "a"}) == {"value": ["a"]}
    assert with_lists(annotated(list[str] | None), {"value": "a"}) == {"value": ["a"]}
    assert with_lists(annotated(list[str] | str), {"value": "a"}) == {"value": "a"}
    assert with_lists(annotated(list[int]), {"value": "a"}) == {"value": "a"}
