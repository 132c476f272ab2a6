from __future__ import annotations

import pytest

from tuning.data.invocation import check_invocation
from tuning.errors import UserError

INVOCATION = [7, 8]


@pytest.mark.parametrize("ids", [[7, 8], [1, 7, 8], [7, 7, 8, 2]])
def test_an_invocation_anywhere_in_a_row_is_found(ids: list[int], caplog: pytest.LogCaptureFixture) -> None:
    check_invocation([{"input_ids": ids}], INVOCATION)
    assert caplog.text == ""


@pytest.mark.parametrize("ids", [[], [7], [8, 7], [7, 1, 8]])
def test_rows_without_the_invocation_are_refused(ids: list[int]) -> None:
    with pytest.raises(UserError, match=r"the tokens \[7, 8\] stand in none of the first 1 rows"):
        check_invocation([{"input_ids": ids}], INVOCATION)


def test_rows_that_will_train_nothing_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    check_invocation([{"input_ids": [7, 8]}, {"input_ids": [1]}, {"input_ids": [2]}], INVOCATION)
    assert "2 of the first 3 rows hold no invocation" in caplog.text
