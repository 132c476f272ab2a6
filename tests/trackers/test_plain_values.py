from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.trackers.plain_values import to_number, to_plain


class Color(enum.Enum):
    RED = "red"


@dataclass
class Settings:
    rate: float = 0.1
    names: set[str] = field(default_factory=lambda: {"b", "a"})


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Color.RED, "red"),
        (Path("a/b"), "a/b"),
        (Settings(), {"rate": 0.1, "names": ["a", "b"]}),
        ({1: (2, None)}, {"1": [2, None]}),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (True, True),
        (Settings, f"{__name__}.Settings"),
        (Unprintable(), "<Unprintable that cannot be written>"),
        (b"raw", "b'raw'"),
    ],
)
def test_any_value_becomes_plain(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain


def test_numpy_scalars_and_arrays_become_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert to_plain({"a": numpy.float32(0.5), "b": numpy.arange(3)}) == {"a": 0.5, "b": [0, 1, 2]}
    assert type(to_plain(numpy.float64(0.5))) is float


def test_a_structure_that_holds_itself_ends() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert json.dumps(to_plain(endless))


@pytest.mark.slow
def test_torch_values_become_numbers_and_text() -> None:
    torch = pytest.importorskip("torch")
    assert to_plain({"dtype": torch.bfloat16, "x": torch.tensor([1, 2])}) == {"dtype": "torch.bfloat16", "x": [1, 2]}
    assert to_number(torch.tensor(2.5)) == 2.5


@pytest.mark.parametrize("value", ["1", None, [1], {}, object(), SimpleNamespace(item=3)])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert to_number(value) is None


@pytest.mark.parametrize(("value", "number"), [(3, 3), (0.5, 0.5), (True, 1), (2**70, 2.0**70), (10**400, math.inf)])
def test_numbers_keep_their_value(value: Any, number: float) -> None:
    assert to_number(value) == number
