"""MLflow: a local sqlite database or a tracking server."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Dataset, Link, Point, RunInfo
from tuning.trackers.params import Scalar, as_text

# Source: MLflow's REST API, "Log Batch": at most 1000 metrics and 100 params in a request.
_MOST_METRICS = 1000
_MOST_PARAMS = 100
_STATES = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "preempted": "KILLED"}
# A value that MLflow does not take; a call that an older server does not know.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND")
_RUN_ID_TAG = "tuning.run_id"
# Tags that MLflow's pages show beside the run.
_SHOWN_TAGS = {
    "environment.git.commit": "mlflow.source.git.commit",
    "environment.git.branch": "mlflow.source.git.branch",
}
# Source: MLflow's MAX_DATASET_DIGEST_SIZE.
_LONGEST_DIGEST = 36
# MLflow's own defaults let one call to a dead server take 247 s.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MLflowBackend(Backend):
    """Send a run to MLflow through its client, without MLflow's active run."""

    package = "mlflow"
    extra = "mlflow"

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse a folder as a store, which MLflow itself refuses since version 3.17."""
        uri = str(options.get("mlflow_tracking_uri") or "sqlite:///")
        if ("://" in uri and not uri.startswith("file:")) or uri == "databricks":
            return []
        expected = "expected a database such as sqlite:///mlflow.db or a server such as http://host:5000, not a folder"
        return [Problem("tracking.mlflow_tracking_uri", expected, value=uri)]

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Create the run in its experiment, or go on with the run that bears our id already."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        uri = str(run.options.get("mlflow_tracking_uri") or f"sqlite:///{run.folder / 'mlflow.db'}")
        self._client = MlflowClient(uri)
        self._nonfinite: Counter[str] = Counter()
        experiment_id = self._experiment_id(run, uri)
        self._ours = f"tags.`{_RUN_ID_TAG}` = '{run.run_id}'"
        self._experiment = experiment_id
        self._run_id = saved_id or self._found() or self._created(run)
        self._client.update_run(self._run_id, status="RUNNING")
        self._client.set_tag(self._run_id, "state", "running")
        if uri.startswith("http"):
            # MLflow's pages take a run for the evaluation of an application unless they are told.
            run_page = f"#/experiments/{experiment_id}/runs/{self._run_id}?workflowType=machine_learning"
            page = f"{without_user(uri)}/{run_page}"
            return Link(self._run_id, page, page)
        return Link(self._run_id, None, f"mlflow ui --backend-store-uri {shlex.quote(uri)}")

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params as text."""
        from mlflow.entities import Param

        params = [Param(key, as_text(value)) for key, value in flat.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._log_batch(params=params[start : start + _MOST_PARAMS])
        for key in _SHOWN_TAGS.keys() & flat.keys():
            self._client.set_tag(self._run_id, _SHOWN_TAGS[key], as_text(flat[key]))

    def dataset(self, dataset: Dataset) -> None:
        """Add an input of the run, of its kind `training` or `validation`; MLflow passes over one that it has."""
        from mlflow.entities import Dataset as Input
        from mlflow.entities import DatasetInput, InputTag

        columns = [_column(name, kind) for name, kind in dataset.columns.items()]
        data = Input(
            name=dataset.title,
            digest=dataset.sha256[:_LONGEST_DIGEST],
            source_type="local",
            source=json.dumps({"uri": ", ".join(dataset.paths)}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": dataset.rows, "sha256": dataset.sha256}),
        )
        tag = InputTag("mlflow.data.context", dataset.name)
        with _refusals():
            self._client.log_inputs(self._run_id, [DatasetInput(data, [tag])])

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add points with the time they were recorded at; MLflow passes over those that it has."""
        from mlflow.entities import Metric

        metrics = [Metric(p.name, p.value, int(p.time * 1000), p.step) for p in batch]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._log_batch(metrics=metrics[start : start + _MOST_METRICS])
        self._count_infinite(batch)

    def artifact(self, path: Path, name: str) -> None:
        """Add a file, or a folder under its name."""
        if path.is_dir():
            self._client.log_artifacts(self._run_id, str(path), name)
        else:
            self._client.log_artifact(self._run_id, str(path), str(Path(name).parent) if "/" in name else None)

    def close(self, status: str, error: str | None) -> None:
        """Set MLflow's own state and, in tags, ours and the error."""
        self._client.set_tag(self._run_id, "state", status)
        if error:
            self._client.set_tag(self._run_id, "error", error)
        self._client.set_terminated(self._run_id, _STATES[status])
        self._delete_doubles()

    def _experiment_id(self, run: RunInfo, uri: str) -> str:
        name = str(run.options.get("mlflow_experiment") or run.experiment)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        location = None
        if uri.startswith("sqlite:////"):
            location = (Path(uri.removeprefix("sqlite:///")).parent / "mlruns").as_uri()
        return self._client.create_experiment(name, artifact_location=location)

    def _found(self) -> str | None:
        runs = self._client.search_runs([self._experiment], self._ours)
        return runs[0].info.run_id if runs else None

    def _created(self, run: RunInfo) -> str:
        tags = {_RUN_ID_TAG: run.run_id, "run_dir": str(run.run_dir)}
        return self._client.create_run(self._experiment, int(run.time * 1000), tags, run.name).info.run_id

    def _delete_doubles(self) -> None:
        """Delete the empty runs that a server made of requests which it was too slow to answer."""
        for run in self._client.search_runs([self._experiment], self._ours):
            if run.info.run_id != self._run_id:
                self._client.delete_run(run.info.run_id)

    def _log_batch(self, **items: Any) -> None:
        with _refusals():
            self._client.log_batch(self._run_id, **items)

    def _count_infinite(self, batch: Sequence[Point]) -> None:
        """Say in a tag how many values are infinite, which MLflow stores as the largest finite number."""
        found = Counter(point.name for point in batch if math.isinf(point.value))
        self._nonfinite.update(found)
        for name in found:
            self._client.set_tag(self._run_id, f"nonfinite.{name}"[:250], str(self._nonfinite[name]))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn the errors that another try would not mend into those that say so."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in _REFUSALS:
            raise ValueError(str(error)) from error
        raise


def _column(name: str, kind: str) -> dict[str, Any]:
    """Describe a column as MLflow's schemas do; of what is nested, the type of the values is left open."""
    if kind == "array":
        return {"name": name, "type": "array", "items": {"type": "any"}, "required": True}
    return {"name": name, "type": "any" if kind == "object" else kind, "required": True}


def without_user(address: str) -> str:
    """Leave out the user and password of a web address: a browser asks for them, and no page holds them."""
    parts = urlsplit(address.rstrip("/"))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
