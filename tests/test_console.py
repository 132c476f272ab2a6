from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tuning.console import tell_devices
from tuning.errors import UserError


def test_processes_that_do_not_find_each_other_are_told_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone: Any = SimpleNamespace(world_size=1)
    with pytest.raises(UserError, match=r"2 processes were launched.*sees 1\. Without GPUs, set use_cpu=true"):
        tell_devices(alone, model=alone)
