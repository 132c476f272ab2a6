"""`tune runs`: the runs of this machine, found by their event logs, and where each one stands."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import EXIT_SUCCESS, UserError
from tuning.registry import did_you_mean
from tuning.trackers.event_log import number_to_json, read_records
from tuning.trackers.params import Scalar
from tuning.trackers.replay import Replay
from tuning.trackers.run_files import RunFiles, read_json
from tuning.trackers.run_watch import is_elsewhere, trainer_may_live

CONFIG_FILE = "config.json"
_NO_RUNS_INSIDE = ("checkpoint-", "tracking", "wandb", "mlruns", "node_modules", "__pycache__", "venv")
_DEFAULT_LIMIT = 20


@dataclass(frozen=True)
class LocalRun:
    """A run as its folder tells of it; `began` in seconds since 1970, `steps` the Trainer's last logged step.

    `state` is `finished`, `failed`, `killed`, `preempted`, `running`, or `unknown` where no end is recorded
    and the process belongs to another machine.
    """

    folder: Path
    name: str
    experiment: str
    state: str
    error: str | None
    host: str | None
    began: float
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    params: Mapping[str, Scalar]
    series: Mapping[str, Sequence[tuple[int, float]]]
    links: Mapping[str, Mapping[str, str | None]]

    @property
    def steps(self) -> int | None:
        """Return the last step that the Trainer logged."""
        return max((points[-1][0] for name, points in self.series.items() if name.startswith("train/")), default=None)

    def last(self, name: str) -> float | None:
        """Return the last value of a series."""
        points = self.series.get(name)
        return points[-1][1] if points else None

    def setting(self, path: str) -> Any:
        """Return a value of the configuration, or the param of that name of a run that was tracked without one."""
        node: Any = self.config
        for key in path.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        return self.params.get(f"config.{path}") if node is None else node


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield every run folder at or below a folder."""
    for here, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith((".", *_NO_RUNS_INSIDE)))
        if RunFiles(Path(here)).events.is_file():
            yield Path(here)


def load_run(folder: Path) -> LocalRun:
    """Read a run from its event log and its `config.json`."""
    files, replay = RunFiles(folder), Replay()
    delivery = replay.take(list(read_records(files.events)))
    series: dict[str, list[tuple[int, float]]] = {}
    for point in delivery.points:
        series.setdefault(point.name, []).append((point.step, point.value))
    document, first = read_json(folder / CONFIG_FILE), replay.first_run or {}
    return LocalRun(
        folder=folder,
        name=str(first.get("name", folder.name)),
        experiment=str(first.get("experiment", "")),
        state=_state(replay),
        error=(replay.end or {}).get("error"),
        host=(replay.run or {}).get("host"),
        began=float(first.get("time", 0.0)),
        config=document.get("values", {}),
        sources=document.get("sources", {}),
        params=delivery.params,
        series=series,
        links=read_json(files.links),
    )


def named_run(name: str, among: Path) -> LocalRun:
    """Load the run whose folder or name is given; names are looked for below `among`.

    Raises:
        UserError: there is no such run, or several bear the name.
    """
    if RunFiles(Path(name)).events.is_file():
        return load_run(Path(name))
    runs = [load_run(folder) for folder in find_runs(among)]
    found = [run for run in runs if name in (run.name, run.folder.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"several runs are called '{name}': {', '.join(str(run.folder) for run in found)}. Give the folder."
        )
    known = sorted({run.name for run in runs})
    hint = did_you_mean(name, known) if known else f"There is no run below {among.absolute()}."
    raise UserError(f"'{name}' is neither the folder nor the name of a run. {hint}")


def default_folder() -> Path:
    """Return where runs are looked for: `runs` where there is such a folder, else here."""
    return Path("runs") if Path("runs").is_dir() else Path()


def as_json(run: LocalRun) -> dict[str, Any]:
    """Lay a run out for programs."""
    kept = ("name", "experiment", "state", "error", "host", "began")
    described = {key: value for key, value in vars(run).items() if key in kept}
    losses = {f"{stage}_loss": _number(run.last(f"{stage}/loss")) for stage in ("train", "eval")}
    settings = {key: run.setting(path) for key, path in _SETTINGS.items()}
    return {**described, "folder": str(run.folder), "steps": run.steps, **losses, **settings, "links": dict(run.links)}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns on the left, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def shown(value: Any) -> str:
    """Write a cell: `-` where there is nothing, six digits of a number."""
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the runs below a folder, the newest last."""
    parser = argparse.ArgumentParser(prog="tune runs", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="where to look (default: runs, or here where there is none)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--limit", type=int, default=_DEFAULT_LIMIT, help="show the newest N (default: %(default)s; 0: all)"
    )
    args = parser.parse_args(argv)
    folder = args.folder or default_folder()
    if not folder.is_dir():
        raise UserError(f"'{folder}' is no folder")
    runs = sorted((load_run(found) for found in find_runs(folder)), key=lambda run: run.began)
    chosen = runs[-args.limit :] if args.limit > 0 else runs
    if args.json:
        print(json.dumps([as_json(run) for run in chosen], indent=2, ensure_ascii=False))
    else:
        print(_overview(chosen, folder, len(runs) - len(chosen)))
    return EXIT_SUCCESS


_SETTINGS = {
    "model": "model.model_name_or_path",
    "method": "peft.peft_method",
    "learning_rate": "training.learning_rate",
}
_METHODS = {"none": "full"}
_HEADER = ("RUN", "STATE", "STEPS", "TRAIN LOSS", "EVAL LOSS", "MODEL", "METHOD", "LEARNING RATE", "BEGAN", "FOLDER")


def _state(replay: Replay) -> str:
    if replay.end is not None:
        return str(replay.end["state"])
    run = replay.run or {}
    if is_elsewhere(run):
        return "unknown"
    return "running" if trainer_may_live(run) else "killed"


def _overview(runs: Sequence[LocalRun], folder: Path, num_hidden: int) -> str:
    if not runs:
        return f"no runs below {folder.absolute()}"
    parts = [table([_HEADER, *(_row(run) for run in runs)])]
    if num_hidden:
        parts.append(f"{num_hidden} older runs are not shown; --limit 0 shows all")
    links = [
        (run.name, name, link.get("url") or link.get("open_with") or "-")
        for run in runs
        for name, link in run.links.items()
    ]
    return "\n\n".join([*parts, *([f"Links\n{table(links)}"] if links else [])])


def _row(run: LocalRun) -> tuple[str, ...]:
    model, method = run.setting(_SETTINGS["model"]), run.setting(_SETTINGS["method"])
    cells = (
        run.name,
        run.state,
        run.steps,
        run.last("train/loss"),
        run.last("eval/loss"),
        None if model is None else Path(str(model)).name,
        _METHODS.get(method, method),
        run.setting(_SETTINGS["learning_rate"]),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began)),
        run.folder,
    )
    return tuple(shown(cell) for cell in cells)


def _number(value: float | None) -> float | str | None:
    return None if value is None else number_to_json(value)


if __name__ == "__main__":
    sys.exit(main())
