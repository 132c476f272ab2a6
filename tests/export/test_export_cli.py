from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["./none", "--to", "torch"], "there is no such folder"),
        (["./none"], "the following arguments are required: --to"),
        (["./none", "--to", "tourch"], "Did you mean 'torch'?"),
        (["./none", "--to", "torch", "--out"], "expected one argument"),
        (["./" + "n" * 300, "--to", "torch"], "it cannot be looked at: File name too long"),
    ],
)
def test_bad_words_are_one_message_and_exit_code_1(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", *words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_run_that_has_saved_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert main(["export", str(tmp_path), "--to", "torch"]) == 1
    assert "the run has saved no model" in capsys.readouterr().err


def test_nothing_is_written_where_something_is_refused(
    tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tiny_config_only_model), "--to", "gguf", "--quantize", "q3", "--out", str(tmp_path / "out")]
    assert main(["export", *words]) == 1
    assert "export.export_quantize: got 'q3'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


HEAVY = """
import sys
from tuning.cli import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "datasets", "peft", "trl"} & set(sys.modules)))
"""


def test_a_refusal_imports_no_heavy_library(tiny_config_only_model: Path, tmp_path: Path) -> None:
    words = ["export", str(tiny_config_only_model), "--to", "gguf", "--quantize", "q3", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", HEAVY, *words], capture_output=True, text=True)
    assert done.stdout == "1 []\n", done.stderr


@pytest.mark.parametrize("size", ["5GiB", "500B", "0GB", "0.0 MB", "GB"])
def test_a_size_that_the_library_cannot_read_is_refused(
    size: str, tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", "torch", "--max-shard-size", size, "--out", str(tmp_path / "out")]
    assert main(["export", str(tiny_config_only_model), *words]) == 1
    assert "expected a size such as 5GB" in capsys.readouterr().err


def test_a_folder_where_nothing_can_be_written_is_refused(
    tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    words = [str(tiny_config_only_model), "--to", "gguf", "--out", str(tmp_path / "file" / "out")]
    assert main(["export", *words]) == 1
    assert "nothing can be written in" in capsys.readouterr().err


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
from tuning.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""Makes files end as on a full disk: no write goes on beyond 150,000 bytes."""


@pytest.mark.slow
def test_a_disk_that_is_full_half_way_is_told_and_nothing_is_left(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, "export", str(tiny_model), "--to", "torch"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "the export cannot be written to" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


STOPPED = """
import signal, sys
from tuning.cli import main
from tuning.export.exporters import EXPORTERS
from tuning.export.torch_export import TorchExporter

class Stopped(TorchExporter):
    def write(self, loaded, folder, options):
        super().write(loaded, folder, options)
        signal.raise_signal(signal.SIGTERM)

EXPORTERS._registered["stopped"] = Stopped
sys.exit(main(sys.argv[1:]))
"""
"""Adds a format that is stopped once its weights are written, and not yet compared."""


@pytest.mark.slow
def test_an_export_that_is_stopped_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED, "export", str(tiny_model), "--to", "stopped"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True)
    assert (done.returncode, "stopped by SIGTERM during the export" in done.stderr) == (75, True), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_is_no_json_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("[")
    assert main(["export", str(tmp_path), "--to", "torch"]) == 1
    assert "cannot be read as JSON" in capsys.readouterr().err


def test_a_model_of_no_known_class_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine"}))
    assert main(["export", str(tmp_path), "--to", "gguf"]) == 1
    assert "a model without architectures" in capsys.readouterr().err
