from __future__ import annotations

import pytest

from tuning.checkpoints.trainer import told_as_unusable
from tuning.errors import UserError


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[pair.cc:547] Connection closed by peer [127.0.0.1]")])
def test_a_process_that_died_while_loading_says_nothing_of_the_checkpoint(error: Exception) -> None:
    with pytest.raises(type(error)), told_as_unusable("checkpoint-3"):
        raise error


def test_anything_else_that_loading_raises_is_told_of_the_checkpoint() -> None:
    with pytest.raises(UserError, match=r"checkpoint-3: .* torn\. Take another"), told_as_unusable("checkpoint-3"):
        raise RuntimeError("torn")
