from __future__ import annotations

import pytest

from benchmarks.commands import COMMANDS, main


@pytest.mark.slow
def test_each_command_is_timed_beside_the_imports_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--starts", "1"])
    told = capsys.readouterr().out
    assert [name for name in COMMANDS if f"| {name} |" not in told] == []
