from __future__ import annotations

import pytest

from tuning.acceleration.divided_weights import as_the_first_process, is_divided


@pytest.mark.parametrize("found", [True, False])
def test_one_process_decides_for_itself(found: bool) -> None:
    assert as_the_first_process(found) is found


def test_weights_that_deepspeed_has_marked_are_divided() -> None:
    from torch import nn

    model = nn.Linear(2, 2)
    assert not is_divided(model)
    model.weight.ds_id = 0  # pyright: ignore[reportAttributeAccessIssue]
    assert is_divided(model)
