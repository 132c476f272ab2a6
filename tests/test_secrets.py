"""Secrets planted all over a real run: not one byte of them is in anything that the run writes."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuning.trackers.sync import set_aside

pytestmark = pytest.mark.slow

MARKER = "a-word-that-everything-may-show"
"""Planted beside the secrets: where it is found, a secret would have been found too."""

PLACES = (
    "hub_token",
    "model_init_kwargs",
    "metadata_nested",
    "metadata_json",
    "metadata_list",
    "metadata_url",
    "mlflow_url",
    "variable_hf",
    "variable_wandb",
    "argument",
    "tracker_options",
    "error",
    "run_name",
    "experiment",
)
# Put together at run time, so that no scanner takes them for real ones.
SECRETS = {place: "hf_" + f"Xy{index:02d}Qw7Rt9" * 3 for index, place in enumerate(PLACES)}

TRAIN = """
import sys, tuning.sft_trainer as trainer
if sys.argv[1]:
    def load_model(*args, **kwargs):
        raise RuntimeError(f"cannot log in with {sys.argv[1]}")
    trainer.load_model = load_model
sys.exit(trainer.main(sys.argv[2:]))
"""


def settings(model: Path, mlflow_uri: str, finish_timeout: float) -> dict[str, Any]:
    return {
        "model_name_or_path": str(model),
        "training_data_path": "rows.jsonl",
        "output_dir": "out",
        "max_steps": 2,
        "logging_steps": 1,
        "save_steps": 1,
        "hub_token": SECRETS["hub_token"],
        "model_init_kwargs": {"token": SECRETS["model_init_kwargs"]},
        "trackers": ["aim", "mlflow", "wandb"],
        "mlflow_tracking_uri": mlflow_uri,
        "tracker_options": {"wandb": {"api_key": SECRETS["tracker_options"]}},
        "run_name": f"try {SECRETS['run_name']} {MARKER}",
        "experiment": f"secrets {SECRETS['experiment']}",
        "finish_timeout": finish_timeout,
        "exp_metadata": {
            "word": MARKER,
            "deep": {"er": [{"api_key": SECRETS["metadata_nested"]}]},
            "json": json.dumps({"credentials": {"password": SECRETS["metadata_json"]}}),
            "command": ["train.py", "--token", SECRETS["metadata_list"]],
            "store": f"https://me:{SECRETS['metadata_url']}@host.example/data",
        },
    }


def train(folder: Path, model: Path, mlflow_uri: str, finish_timeout: float, error: str = "") -> None:
    """Run the command with everything that it says kept in the folder too."""
    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(8)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder.parent / "run.json").write_text(json.dumps(settings(model, mlflow_uri, finish_timeout)))
    environ = {
        **os.environ,
        "HF_TOKEN": SECRETS["variable_hf"],
        "WANDB_API_KEY": SECRETS["variable_wandb"].ljust(40, "x"),
        "TERMINATION_LOG_FILE": str(folder / "termination.log"),
    }
    words = [error, str(folder.parent / "run.json"), f"hub_token={SECRETS['argument']}"]
    with (folder / "shown.log").open("w") as shown:
        command = [sys.executable, "-c", TRAIN, *words]
        subprocess.run(command, cwd=folder, env=environ, stdout=shown, stderr=shown, timeout=300, check=False)


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("secrets") / "finished"
    folder.mkdir()
    train(folder, tiny_model, "sqlite:///mlflow.db", finish_timeout=120)
    yield folder
    set_aside(folder / "out")


@pytest.fixture(scope="module")
def failed(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("secrets") / "failed"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = f"http://me:{SECRETS['mlflow_url']}@127.0.0.1:{free.getsockname()[1]}"
    train(folder, tiny_model, server, finish_timeout=15, error=SECRETS["error"])
    yield folder
    set_aside(folder / "out")  # stops the sender, which still hopes for the server


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file, and what is packed in it."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            name, data = str(path.relative_to(folder)), path.read_bytes()
            yield name, data
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{name}/{entry}", archive.read(entry)) for entry in archive.namelist())
            if data.startswith(b"\x1f\x8b"):
                yield f"{name} (gzip)", gzip.decompress(data)
            if data[:2] in (b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
                yield f"{name} (zlib)", zlib.decompress(data)


def written_as(text: str) -> set[bytes]:
    """List the ways to write a text: as it is, in UTF-16, in base64 at each of its three offsets."""
    encoded = {base64.b64encode(b"\0" * shift + text.encode())[4:-4] for shift in range(3)}
    return {text.encode(), text.encode("utf-16-le"), *encoded}


def holding(folder: Path, text: str) -> list[str]:
    ways = written_as(text)
    return [name for name, data in contents(folder) if any(way in data for way in ways)]


@pytest.mark.parametrize("place", PLACES)
def test_a_finished_run_holds_no_byte_of_a_secret(finished: Path, place: str) -> None:
    assert holding(finished, SECRETS[place]) == []


@pytest.mark.parametrize("place", PLACES)
def test_a_failed_run_holds_no_byte_of_a_secret(failed: Path, place: str) -> None:
    assert holding(failed, SECRETS[place]) == []


def test_the_runs_did_what_they_were_to_do(finished: Path, failed: Path) -> None:
    states = [
        json.loads((run / "out/tracking/events.jsonl").read_text().splitlines()[-1])["state"]
        for run in (finished, failed)
    ]
    assert states == ["finished", "failed"]
    assert "cannot log in with [redacted]" in (failed / "termination.log").read_text()
    assert "cannot log in with [redacted]" in (failed / "shown.log").read_text()


def test_the_scan_would_have_found_them(finished: Path) -> None:
    found = holding(finished, MARKER)
    for store in ("out/tracking/events.jsonl", "out/config.json", "mlflow.db", ".wandb", "out/tracking/aim/"):
        assert any(store in name for name in found), f"nothing can be read in {store}"


def test_the_configuration_of_a_run_can_still_be_used(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuning.sft_trainer import load_config

    monkeypatch.chdir(finished)
    job = load_config([str(finished / "out" / "config.json")])
    assert job.config.training.max_steps == 2
