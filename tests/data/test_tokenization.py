from __future__ import annotations

from collections.abc import Sequence

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.pieces import Cutter
from tuning.data.templates import CHATML, chat_renderer
from tuning.data.tokenization import Encoder, TokenRow, num_supervised, tokenize, truncated

BEGIN = 1


def letters(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    """Encode each character as its code point, after a token that begins the text."""
    return [([BEGIN] if add_special_tokens else []) + [ord(letter) for letter in text] for text in texts]


def spaced(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    """Put a space before each text, as tokenizers of the first Llamas do."""
    return letters([f" {text}" for text in texts], add_special_tokens)


def rows_of(row: dict[str, str], encoder: Encoder) -> list[TokenRow]:
    return list(tokenize([row], Cutter("$", chat_renderer(CHATML, {"eos_token": "$"})), encoder))


def test_the_labels_of_a_row_are_its_answer_and_nothing_else() -> None:
    (row,) = rows_of({"prompt": "ab", "completion": "cd"}, Encoder.of(letters))
    assert row.input_ids == [BEGIN, *map(ord, "abcd$")]
    assert row.labels == [IGNORED_LABEL] * 3 + [*map(ord, "cd$")]


def test_an_answer_gets_no_space_that_the_tokenizer_puts_at_the_start_of_a_text() -> None:
    encoder = Encoder.of(spaced)
    (row,) = rows_of({"prompt": "ab", "completion": "cd"}, encoder)
    assert (Encoder.of(letters).adds_prefix_space, encoder.adds_prefix_space) == (False, True)
    assert row.input_ids == [BEGIN, *map(ord, " abcd$")]


def test_rows_of_several_batches_keep_their_order() -> None:
    rows = [{"prompt": "a", "completion": chr(200 + number % 50)} for number in range(1200)]
    cutter = Cutter("$", chat_renderer(CHATML, {"eos_token": "$"}))
    found = list(tokenize(rows, cutter, Encoder.of(letters)))
    assert [row.row for row in found] == list(range(1200))
    assert [chr(row.input_ids[2]) for row in found] == [row["completion"] for row in rows]


def test_truncation_counts_what_is_lost_of_the_answer() -> None:
    row = TokenRow([1, 2, 3, 4], [IGNORED_LABEL, 2, 3, 4], 0)
    assert truncated(row, 2) == TokenRow([1, 2], [IGNORED_LABEL, 2], 0, 2)
    assert truncated(row, 2, "keep_end") == TokenRow([3, 4], [3, 4], 0, 1)
    assert truncated(row, 4) is row and num_supervised(row.labels) == 3
