"""What a store holds of its runs, read with the vendor's own reader: `python -m benchmarks.read_stores KIND FOLDER`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Held:
    """The steps of each series, in the order they are stored, the run's state, and how many runs there are."""

    steps: dict[str, list[int]] = field(default_factory=dict)
    state: str | None = None
    num_runs: int = 0

    def kept(self, series: Sequence[str], num_steps: int) -> int:
        """Count the steps from 1 on that every series has."""
        wanted = set(range(1, num_steps + 1))
        return len(set.intersection(wanted, *(set(self.steps.get(name, ())) for name in series)))

    def duplicates(self) -> int:
        """Count what is there more than once: a step of a series, or the run."""
        return sum(len(steps) - len(set(steps)) for steps in self.steps.values()) + max(0, self.num_runs - 1)


def read_aim(folder: Path) -> Held:
    """Read a local repository, or the one behind a server."""
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    repo = Repo(str(folder / "repo"))
    held = Held(num_runs=len(repo.list_all_runs()))
    for run_hash in repo.list_all_runs()[:1]:
        RepoIndexManager.get_index_manager(repo).index(run_hash)
        run: Any = repo.get_run(run_hash)
        held.state = run.get("state")
        for metric in run.metrics():
            held.steps[metric.name] = metric.dataframe()["step"].tolist()
    return held


def read_mlflow(folder: Path) -> Held:
    """Read the database, which a server may stand in front of."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    held = Held(num_runs=len(runs))
    for run in runs[:1]:
        native, ours = run.info.status, run.data.tags.get("state")
        held.state = ours if native.lower() in (ours, "killed") else f"{ours} ({native})"
        for name in run.data.metrics:
            held.steps[name] = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
    return held


def read_wandb(folder: Path) -> Held:
    """Read the files of an offline run; its sessions count as one run where they share an id."""
    held, ids = Held(), set()
    for session in sorted((folder / "wandb").glob("offline-run-*")):
        summary = json.loads(_leet(session, "--summary", "--json"))
        ids.add(summary["run_id"])
        held.state = summary["summary"].get("state")
        for line in _leet(session, "--json").splitlines():
            _add_row(held, json.loads(line).get("history", {}).get("item", {}))
    held.num_runs = len(ids)
    return held


def read_wandb_server(folder: Path) -> Held:
    """Read what the stand-in for W&B's server was sent."""
    file = folder / "histories.json"
    histories = json.loads(file.read_text()) if file.exists() else {}
    held = Held(num_runs=len(histories))
    for run, rows in histories.items():
        for row in rows:
            _add_row(held, row)
        held.state = _summary(folder, run).get("state")
    return held


READERS = {"aim": read_aim, "mlflow": read_mlflow, "wandb": read_wandb, "wandb_server": read_wandb_server}


def _add_row(held: Held, row: dict[str, Any]) -> None:
    for name in row:
        if not name.startswith("_") and name != "train/global_step" and "train/global_step" in row:
            held.steps.setdefault(name, []).append(int(row["train/global_step"]))


def _summary(folder: Path, run: str) -> dict[str, Any]:
    file = folder / "summaries.json"
    return json.loads(file.read_text()).get(run, {}) if file.exists() else {}


def _leet(session: Path, *options: str) -> str:
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", str(session), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main(argv: Sequence[str]) -> int:
    """Print what a store holds as one line of JSON."""
    kind, folder = argv
    print(json.dumps(asdict(READERS[kind](Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
