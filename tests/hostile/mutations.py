"""Strategies that make documents of real keys and wrong values, and files that are damaged here and there."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tuning.config.names import ALIASES, RETIRED, field_paths
from tuning.config.schema import sections

KEYS = sorted({*field_paths(), *field_paths().values(), *ALIASES, *RETIRED, *sections()})
WORDS = (
    *("", "model", "rows.jsonl", "./none", "~nobody/x", "auto", "none", "true", "no", "1e999", "0x10", "\0", "\ud800"),
    *(
        "{{ x }}",
        "{% for",
        "loss > 1",
        "${HOME}",
        "$(touch x)",
        "a" * 5000,
        "../..",
        "/dev/zero",
        "all-linear",
        "steps",
    ),
)
COLUMNS = (
    *("prompt", "completion", "messages", "text", "input_ids", "labels", "attention_mask", "tools", "instruction"),
    *("input", "output", "question", "answer", "context", "label", "conversations", "role", "content", "from", "value"),
    *("paragraphs", "qas", "instances", "chosen", "answers", "id", "data", "documents", "system", "tool_calls", "name"),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=6),
)


def trees(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Make JSON values whose objects have keys of the given kind, or any others."""
    names = keys | st.text(max_size=5)
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=8
    )


DOCUMENTS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), trees(st.sampled_from(KEYS)), max_size=6)
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), trees(st.sampled_from(COLUMNS)), max_size=4), max_size=5)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Flip, repeat, take out or put in some bytes of a file, or cut it."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        at, length = draw(st.integers(0, max(0, len(changed) - 1))), draw(st.integers(1, 16))
        match draw(st.sampled_from(("flip", "repeat", "remove", "insert", "cut"))):
            case "flip":
                changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "repeat":
                changed[at:at] = changed[at : at + length]
            case "remove":
                del changed[at : at + length]
            case "insert":
                changed[at:at] = draw(st.binary(max_size=8) | st.sampled_from((b'"', b"{", b"]", b",", b"\n", b"\0")))
            case _:
                del changed[at:]
    return bytes(changed)
