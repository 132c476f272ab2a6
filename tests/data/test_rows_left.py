from __future__ import annotations

import json
import logging
from itertools import islice
from pathlib import Path

import pytest
from made_tokenizers import encoding_of

from tuning.config.sections import Data
from tuning.data.datasets import check_rows_left
from tuning.data.held_out import held_out_tokens, load_held_out
from tuning.data.prepared import Encodings, Prepared, PreparedRows
from tuning.data.streamed import TokenStream, open_stream
from tuning.errors import DataError

TOO_MANY = "more tokens than skip_samples_with_large_columns allows"


def limited(folder: Path, longest: int) -> Data:
    texts = ["a", "a b c d e f g h i j k l", "a", "a b c d e f g h i j k l m"]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts))
    arguments = {"column_name": "input_ids", "max_allowed_length": longest}
    limit = {"name": "skip_samples_with_large_columns", "arguments": arguments}
    dataset = {"data_paths": [str(folder / "rows.jsonl")], "data_handlers": [limit], "data_format": "text"}
    return Data.model_validate({"datasets": [dataset], "dataset_prepared_path": str(folder / "kept")})


def prepared(data: Data) -> Prepared:
    return PreparedRows(data, 1).prepare(Encodings(encoding_of("byte_level"), encoding_of("byte_level")))


def test_rows_of_too_many_tokens_are_counted_when_they_are_made_and_when_they_are_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        found = prepared(limited(tmp_path, 8))
        with caplog.at_level(logging.INFO):
            check_rows_left(found, None)
        assert found.skipped == []
    assert [line for line in caplog.messages if TOO_MANY in line] == [
        f"train: 2 of 4 rows have {TOO_MANY}; they are left out"
    ] * 2


def test_a_limit_that_no_row_keeps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"train: 4 of 4 rows have {TOO_MANY}, and none is left"):
        check_rows_left(prepared(limited(tmp_path, 1)), None)


def test_a_limit_that_no_held_out_row_keeps_is_refused(tmp_path: Path) -> None:
    data = limited(tmp_path, 1).model_copy(update={"validation_fraction": 0.5})
    with pytest.raises(DataError, match=f"validation: all rows have {TOO_MANY}"):
        held_out_tokens(load_held_out(data, 1), encoding_of("byte_level"))


def test_streamed_rows_of_too_many_tokens_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = TokenStream(open_stream(limited(tmp_path, 8), 1), encoding_of("byte_level"))
    with caplog.at_level(logging.INFO):
        assert len(list(islice(stream, 5))) == 5
    told = [line.partition(" has ")[0].rpartition("/")[2] for line in caplog.messages if TOO_MANY in line]
    assert told == ["rows.jsonl row 2", "rows.jsonl row 4"]
