from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.left_out import does_one_run, left_out


def test_a_package_that_is_left_out_looks_uninstalled_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    with left_out("wave"):
        assert importlib.util.find_spec("wave") is None
        with pytest.raises(ImportError):
            importlib.import_module("wave")
    assert importlib.import_module("wave").__name__ == "wave"


def test_a_package_that_is_there_already_stays() -> None:
    with left_out("json"):
        assert importlib.import_module("json") is sys.modules["json"]


def test_only_a_command_of_ours_does_one_run() -> None:
    assert not does_one_run()


@pytest.mark.parametrize("module", ["tuning.sft_trainer", "tuning.cli"])
def test_a_module_that_is_run_as_a_command_does_one_run(module: str, tmp_path: Path) -> None:
    program = (
        "import importlib.util, sys, types\n"
        f"sys.modules['__main__'].__spec__ = importlib.util.find_spec({module!r})\n"
        "from tuning.left_out import does_one_run\n"
        "print(does_one_run())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
