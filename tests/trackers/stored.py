"""What each tracker holds of a run, read back with the tracker's own reader."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRACKIO_READER = Path(__file__).with_name("trackio_reader.py")


@dataclass
class Stored:
    """One run as a tracker holds it; `num_runs` counts all that are in its store."""

    params: dict[str, Any] = field(default_factory=dict)
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    state: str | None = None
    error: str | None = None
    native_state: Any = None
    num_runs: int = 0
    artifacts: list[str] = field(default_factory=list)
    datasets: dict[str, str] = field(default_factory=dict)
    """What each dataset is for, by the SHA-256 or digest that the tracker holds."""


def read_aim(repo_dir: Path) -> Stored:
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    from tuning.trackers.params import flatten

    repo = Repo(str(repo_dir))
    hashes = repo.list_all_runs()
    RepoIndexManager.get_index_manager(repo).index(hashes[0])
    run = repo.get_run(hashes[0])
    params = flatten(run.get(...))
    series = {}
    for metric in run.metrics():
        frame = metric.dataframe()
        series[metric.name] = sorted(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))
    own = {key: params.pop(key, None) for key in ("state", "error", "run_dir")}
    artifacts = [key.removeprefix("artifacts.") for key in params if key.startswith("artifacts.")]
    params = {key: value for key, value in params.items() if not key.startswith("artifacts.")}
    data = {
        artifact.storage["sha256"]: name.split("/")[1]
        for name, artifact in run.artifacts.items()
        if name.startswith("data/")
    }
    return Stored(params, series, own["state"], own["error"], run.active, len(hashes), artifacts, data)


def read_mlflow(uri: str) -> Stored:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    run = runs[0]
    series = {
        key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    tags = run.data.tags
    inputs = run.inputs.dataset_inputs
    assert len({one.dataset.digest for one in inputs}) == len(inputs)
    return Stored(
        run.data.params,
        series,
        tags["state"],
        tags.get("error"),
        run.info.status,
        len(runs),
        sorted(item.path for item in client.list_artifacts(run.info.run_id)),
        {json.loads(one.dataset.profile)["sha256"]: one.tags[0].value for one in inputs},
    )


def read_wandb(folder: Path) -> Stored:
    from tuning.trackers.params import flatten
    from tuning.trackers.wandb_log import TransactionLog

    stored, ids = Stored(), set()
    for session in sorted((folder / "wandb").glob("offline-run-*")):
        summary = json.loads(_leet(session, "--summary", "--json"))
        ids.add(summary["run_id"])
        stored.params.update(flatten(summary["config"]))
        stored.state, stored.error = summary["summary"].get("state"), summary["summary"].get("error")
        stored.native_state = summary["state"]
        for line in _leet(session, "--json").splitlines():
            _read_wandb_row(json.loads(line), stored)
        for record in TransactionLog(next(session.glob("*.wandb"))).records("artifact"):
            _read_wandb_artifact(record.artifact, summary["run_id"], stored)
    stored.num_runs = len(ids)
    return stored


def read_tensorboard(root: Path) -> Stored:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util.tensor_util import make_ndarray

    folders = {file.parent for file in root.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(min(folders)), size_guidance={"tensors": 0}).Reload()
    stored = Stored(num_runs=len(folders))
    for tag in events.Tags()["tensors"]:
        kind = events.SummaryMetadata(tag).plugin_data.plugin_name
        values = [
            (event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag) if kind != "hparams"
        ]
        if kind == "scalars":
            stored.series[tag] = values
        elif kind == "text":
            _read_tensorboard_text(tag, values[-1][1].decode(), stored)
    tag = metadata.SESSION_END_INFO_TAG
    if tag in events.Tags()["tensors"]:
        content = events.SummaryMetadata(tag).plugin_data.content
        stored.native_state = metadata.parse_session_end_info_plugin_data(content).status
    return stored


def read_trackio(folder: Path) -> Stored:
    environment = {**os.environ, "TRACKIO_DIR": str(folder)}
    command = [sys.executable, str(TRACKIO_READER)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    stored = Stored(**json.loads(answer))
    stored.series = {name: [(step, value) for step, value in points] for name, points in stored.series.items()}
    return stored


def read_sqlite(file: Path) -> Stored:
    """Read what the tracker in `examples/tracker` has written."""
    database = sqlite3.connect(file)
    params = {name: json.loads(value) for name, value in database.execute("select name, value from params")}
    series: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in database.execute("select name, step, value from metrics order by step"):
        series.setdefault(name, []).append((step, float(value)))
    (state, error), *others = database.execute("select state, error from runs")
    artifacts = [name for (name,) in database.execute("select name from artifacts")]
    return Stored(params, series, state, error, state, 1 + len(others), artifacts)


READERS: dict[str, Callable[[Path], Stored]] = {
    "aim": lambda run_dir: read_aim(run_dir / "tracking" / "aim"),
    "mlflow": lambda run_dir: read_mlflow(f"sqlite:///{run_dir / 'tracking' / 'mlflow.db'}"),
    "sqlite": lambda run_dir: read_sqlite(run_dir / "tracking" / "runs.db"),
    "tensorboard": lambda run_dir: read_tensorboard(run_dir / "tracking" / "tensorboard"),
    "trackio": lambda run_dir: read_trackio(run_dir / "tracking" / "trackio"),
    "wandb": lambda run_dir: read_wandb(run_dir / "tracking"),
}
"""How to read what each tracker keeps of a run in the run's own folder."""


def same_series(left: Mapping[str, list[Any]], right: Mapping[str, list[Any]]) -> bool:
    """Compare series, counting NaN as equal to itself."""

    def plain(series: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            name: sorted((step, "NaN" if math.isnan(value) else value) for step, value in points)
            for name, points in series.items()
        }

    return plain(left) == plain(right)


def as_kept_by(tracker: str, series: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Round numbers as a tracker does: TensorBoard keeps single precision."""
    if tracker != "tensorboard":
        return series
    return {
        name: [(step, struct.unpack("f", struct.pack("f", value))[0]) for step, value in points]
        for name, points in series.items()
    }


def _read_wandb_row(record: Mapping[str, Any], stored: Stored) -> None:
    row = record.get("history", {}).get("item", {})
    axis = "system/second" if "system/second" in row else "train/global_step"
    for name, value in row.items():
        if not name.startswith("_") and name != axis:
            stored.series.setdefault(name, []).append((row[axis], float(value)))


def _read_wandb_artifact(artifact: Any, run_id: str, stored: Stored) -> None:
    if artifact.type == "dataset":
        facts = json.loads(artifact.metadata)
        assert [entry.ref for entry in artifact.manifest.contents] == [Path(path).as_uri() for path in facts["paths"]]
        stored.datasets[facts["sha256"]] = facts["used_for"]
    else:
        stored.artifacts.append(artifact.name.removeprefix(f"{run_id}-"))


def _leet(session: Path, *options: str) -> str:
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", str(session), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _read_tensorboard_text(tag: str, text: str, stored: Stored) -> None:
    lines = [line.strip().split(" = ", 1) for line in text.splitlines()]
    if tag in ("state", "error"):
        setattr(stored, tag, text)
    elif tag == "artifacts":
        stored.artifacts = [name for name, _ in lines]
    elif tag.startswith("params/"):
        stored.params.update((name, json.loads(value)) for name, value in lines)
