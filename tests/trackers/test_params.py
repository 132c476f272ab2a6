from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.trackers.params import LONGEST_KEY, LONGEST_VALUE, clean_key, flatten, nest, shorten


def test_nested_names_are_joined_with_dots() -> None:
    assert flatten({"a": {"b": 1, "c": None}, "d": True}, "config") == {
        "config.a.b": 1,
        "config.a.c": None,
        "config.d": True,
    }


def test_a_list_of_scalars_is_one_value_and_any_other_is_numbered() -> None:
    assert flatten({"x": [1, "b"], "y": [{"z": 2}], "e": [], "m": {}}) == {
        "x": '[1, "b"]',
        "y.0.z": 2,
        "e": "[]",
        "m": "{}",
    }


@pytest.mark.parametrize(
    ("key", "clean"),
    [("a[0]", "a_0_"), ("/a//b", "a/b"), ("", "_"), ("a,b(c)", "a_b_c_"), ("ä", "_"), ("../a", "a"), ("a..b", "a.b")],
)
def test_names_are_cleaned_of_what_a_tracker_refuses(key: str, clean: str) -> None:
    assert clean_key(key) == clean


def test_a_long_name_is_cut_and_stays_distinct() -> None:
    first, second = clean_key("a" * 400 + "1"), clean_key("a" * 400 + "2")
    assert len(first) <= LONGEST_KEY and first != second


def test_two_names_that_clean_to_one_are_both_kept() -> None:
    assert flatten({"a[": 1, "a]": 2}) == {"a_": 1, "a__2": 2}


def test_a_long_value_is_cut_and_says_its_length_and_hash() -> None:
    first, second = shorten("x" * 9000 + "1"), shorten("x" * 9000 + "2")
    assert isinstance(first, str) and len(first) == LONGEST_VALUE and "9001 characters" in first and first != second


def test_a_value_that_fits_stays() -> None:
    assert [shorten(value) for value in ("x" * LONGEST_VALUE, 5, None)] == ["x" * LONGEST_VALUE, 5, None]


names = st.text(string.ascii_letters, min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.integers() | st.none(), lambda x: st.dictionaries(names, x, min_size=1), max_leaves=9))
def test_nesting_undoes_flattening(value: object) -> None:
    assert nest(flatten({"top": value})) == {"top": value}


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers()) | st.integers()))
def test_no_value_is_lost_by_flattening(values: dict[str, object]) -> None:
    num_leaves = sum(max(1, len(value)) if isinstance(value, dict) else 1 for value in values.values())
    assert len(flatten(values)) == (num_leaves or 1)
