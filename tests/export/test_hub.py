from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--dry_run"], "say more of --push_to_hub"),
        (["--push_to_hub"], "name the repository with --hub_repo"),
        (["--push_to_hub", "--hub_repo", "a/b/c"], "'a/b/c' is no name of a repository"),
        (["--push_to_hub", "--hub_repo", "a/b"], "HF_HUB_OFFLINE is set"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is_exported(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "./none", "--to", "torch", *words]) == 1
    assert told in capsys.readouterr().err


def test_without_a_token_nothing_is_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert main(["export", "./none", "--to", "torch", "--push_to_hub", "--hub_repo", "a/b"]) == 1
    assert "set HF_TOKEN" in capsys.readouterr().err


def test_an_adapter_whose_base_is_a_folder_here_is_not_sent(
    tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"peft_type": "LORA", "base_model_name_or_path": str(tiny_config_only_model)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").touch()
    words = ["--to", "adapter", "--push_to_hub", "--hub_repo", "a/b", "--dry_run"]
    assert main(["export", str(tmp_path), *words]) == 1
    assert "name it with --base ORG/NAME" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_lists_the_files_and_their_sizes(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(tmp_path / "out"), "--push_to_hub", "--hub_repo", "a/b", "--dry_run"]
    assert main(["export", str(tiny_model), "--to", "torch", *words]) == 0
    told = capsys.readouterr().out
    size = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert "would be sent to a/b" in told
    assert f"{size:,} bytes  model.safetensors" in told
    assert "export.json" not in told, "it names folders of this machine"


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_told_and_the_export_stays(tiny_model: Path, tmp_path: Path) -> None:
    words = ["--to", "torch", "--out", str(tmp_path / "out"), "--push_to_hub", "--hub_repo", "a/b"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret", "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "tuning.cli", "export", str(tiny_model), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, "--push_to_hub: a/b" in done.stderr) == (1, True), done.stderr
    assert "hf_secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "export.json").is_file()
