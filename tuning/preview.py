"""`tune preview`: show rows as they are trained on, with what is supervised set apart, and the audit's summary."""

from __future__ import annotations

import io
import itertools
import os
import random
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tuning.config.decided import seed_of
from tuning.config.schema import TuningConfig
from tuning.data.encoding import Encoding
from tuning.data.rows import Rows
from tuning.data.shown_tokens import CLOSING, OPENING, Decode, Style, harmless, parts_of, shown
from tuning.data.sources import Row, Skipped
from tuning.data.tokenization import num_supervised
from tuning.errors import EXIT_SUCCESS, UserError
from tuning.recommender.cli import exit_code_of
from tuning.recommender.completion import completed, given_document
from tuning.recommender.encoding import encoding_of
from tuning.recommender.own_flags import NOTHING, take_flags
from tuning.recommender.sampled_audit import config_of, load_all_rows, sampled_audit, tokenized

FLAGS = {"--rows": "a number", "--row": "a number", "--width": "a number of columns", "--no-color": NOTHING}
USAGE = """usage: tune preview [FILE] [key=value …] [--key value …] [--rows N] [--row N] [--width N] [--no-color]

Show rows as they are trained on: their text with the special tokens, what the loss falls on in green (in ⟦ ⟧ without
colours), their tokens, and what the audit finds. Nothing is written. FILE and keys are those of the trainer.

  --rows N    how many rows to show, chosen by the seed (default 3)
  --row N     show row N of a file, too, as the audit names it
  --width N   columns of a line (default: the terminal's)
  --no-color  marks instead of colours, as where NO_COLOR is set or the output is no terminal

Exit codes: 0; 1 for something in the input that you can mend; 203 for a fault of ours.
"""
_NUM_ROWS = 3
_MOST_ROWS = 1_000
_NARROWEST, _WIDEST = 20, 10_000


class _Reader(NamedTuple):
    """What makes tokens of rows, and text of tokens; `special` are the ids of special tokens."""

    encoding: Encoding
    decode: Decode
    special: Collection[int]


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 the user's input, 203 fault."""
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    return exit_code_of(_preview, argv)


def _preview(argv: Sequence[str]) -> int:
    words, given = take_flags(argv, FLAGS)
    style = _style(given)
    num_rows = _number(given, "--rows", _NUM_ROWS, 0, _MOST_ROWS)
    asked = _number(given, "--row", 0, 1, sys.maxsize) if "--row" in given else None
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # rows hold letters that not every terminal can show
    ir = completed(given_document(words)).ir
    config = config_of(ir)
    rows = load_all_rows(config)
    chosen = list(_chosen(rows, num_rows, asked, seed_of(config)))
    encoding = encoding_of(ir)
    reader = _of_files(encoding) if encoding is not None else _of_transformers(config)
    print("\n\n".join([_legend(style), *_shown_rows(chosen, reader, style)]))
    if config.data.audit != "off":
        found = sampled_audit(rows, reader.encoding, seed_of(config)).lines()
        print("\n".join(["\nAudit", *(f"  {line}" for line in found)]))
    return EXIT_SUCCESS


def _style(given: Mapping[str, Any]) -> Style:
    width = _number(given, "--width", min(shutil.get_terminal_size().columns, _WIDEST), _NARROWEST, _WIDEST)
    refused = "--no-color" in given or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Style(width, sys.stdout.isatty() and not refused)


def _number(given: Mapping[str, Any], flag: str, default: int, least: int, most: int) -> int:
    text = given.get(flag, str(default))
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise UserError(f"{flag}: expected a whole number from {least} to {most}; got '{text}'")
    return int(text)


def _of_files(encoding: Encoding) -> _Reader:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoding.tokenizer)
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return _Reader(encoding, lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False), special)


def _of_transformers(config: TuningConfig) -> _Reader:
    """Load a tokenizer that has no `tokenizer.json`, which imports transformers."""
    from tuning.preparation import encodings_of
    from tuning.tokenizer import load_tokenizer

    tokenizer, _ = load_tokenizer(config)
    encoding = encodings_of(config, tokenizer).train
    return _Reader(encoding, lambda ids: str(tokenizer.decode(list(ids))), set(tokenizer.all_special_ids))


def _chosen(rows: Rows, num_rows: int, asked: int | None, seed: int) -> Iterator[Row]:
    """Choose rows by the seed, in their order; the one that was asked for comes first, from every file that has it."""
    if asked is not None:
        yield from _asked_for(rows, asked)
    drawn = random.Random(seed).sample(range(len(rows.train)), min(num_rows, len(rows.train)))
    yield from (rows.train[index] for index in sorted(drawn))


def _asked_for(rows: Rows, number: int) -> list[Row]:
    """Find the rows of a number.

    Raises:
        UserError: there is none; says why where it was skipped.
    """
    is_asked = re.compile(rf" row {number}(,|$)").search
    found = [row for row in (*rows.train, *rows.validation) if is_asked(row.place)]
    if not found:
        skipped = [f"{row.place} was skipped: {row.reason}" for row in rows.skipped if is_asked(row.place)]
        raise UserError("\n".join(skipped) or f"--row: no file has a row {number}")
    return found


def _shown_rows(rows: Sequence[Row], reader: _Reader, style: Style) -> Iterator[str]:
    refused: list[Skipped] = []
    sequences = tokenized(rows, reader.encoding, refused)
    yield from (f"{harmless(one.place)} is left out: {harmless(one.reason)}" for one in refused)
    for row, group in itertools.groupby(sequences, key=lambda sequence: sequence.row):
        of_row = list(group)
        for number, sequence in enumerate(of_row, start=1):
            which = f", sequence {number} of {len(of_row)}" if len(of_row) > 1 else ""
            lost = f", {sequence.num_lost:,} more cut off by max_length" if sequence.num_lost else ""
            learned = f"{num_supervised(sequence.labels):,} supervised{lost}"
            parts = parts_of(sequence.input_ids, sequence.labels, reader.decode, reader.special)
            title = f"{harmless(rows[row].place)}{which}: {len(sequence.input_ids):,} tokens, {learned}"
            yield f"{title}\n{shown(parts, style)}"


def _legend(style: Style) -> str:
    if style.has_colour:
        return "The loss falls on \x1b[32mwhat is green\x1b[0m; \x1b[2mspecial tokens\x1b[0m are dim."
    return f"The loss falls on what stands in {OPENING} {CLOSING}."
