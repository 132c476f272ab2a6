"""`tune preprocess`: tokenize the rows of a configuration ahead of its runs, which then take the tokens up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuning.data.prepared import Prepared
from tuning.errors import EXIT_SUCCESS, UserError
from tuning.interruption import stop_on_request
from tuning.preparation import prepare

USAGE = """usage: tune preprocess [FILE] [key=value …] [--key value …]

Read, convert and tokenize the rows, audit them, and keep the tokens where every run of the same rows, tokenizer and
lengths takes them up: data.dataset_prepared_path, or beside the cache of Hugging Face's datasets. Neither a run folder
is made nor a model loaded. FILE and keys are those of the trainer.

Exit codes: 0; 1 for something in the input that you can mend; 75 stopped by a signal; 203 for a fault of ours.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    from tuning import console
    from tuning.job import load_config

    console.set_up_logging()
    config = load_config(argv, needs_folder=False).config
    if config.data.streaming:
        raise UserError("data.streaming: rows that are tokenized while training are not kept; leave it out")
    with stop_on_request():
        prepared = prepare(config).prepared
    print("\n".join(_lines(prepared)))
    return EXIT_SUCCESS


def _lines(prepared: Prepared) -> Iterator[str]:
    num_train, num_held_out = prepared.num_rows("train"), prepared.num_rows("validation")
    verb = "tokenized" if prepared.is_new else "taken up"
    yield f"{verb}: {num_train:,} rows to train on, {num_held_out:,} held out, {len(prepared.skipped):,} skipped"
    yield f"format:    {prepared.format}"
    yield f"sequences: {sum(len(tokens.table) for tokens in prepared.tables.values()):,}"
    yield f"tokens:    {prepared.num_tokens():,}"
    yield f"seconds:   {prepared.seconds:.2f}"
    yield f"folder:    {prepared.folder}"
