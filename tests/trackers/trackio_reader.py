"""Print as JSON what Trackio holds in the folder that TRACKIO_DIR names, which Trackio reads when it is imported."""

from __future__ import annotations

import json
from typing import Any

from trackio.sqlite_storage import SQLiteStorage

from tuning.trackers.params import flatten

(project,) = SQLiteStorage.get_projects()
records = SQLiteStorage.get_run_records(project)
name, run_id = records[0]["name"], records[0]["id"]
config: Any = SQLiteStorage.get_run_config(project, name, run_id)
series: dict[str, list[tuple[int, float]]] = {}
for row in SQLiteStorage.get_logs(project, name, run_id=run_id):
    for key, value in row.items():
        if key not in ("step", "timestamp"):
            series.setdefault(key, []).append((row["step"], value))
# Its own reader tells no step of a system metric; we keep it in the name of the row.
query = f"select metrics, log_id from system_metrics where run_id = '{run_id}'"
for row in SQLiteStorage.query_project(project, query)["rows"]:
    metrics, log_id = row.values() if isinstance(row, dict) else row
    for key, value in json.loads(metrics).items():
        series.setdefault(key, []).append((int(log_id.split("-")[1]), value))
links = SQLiteStorage.get_run_artifacts(project, name, run_id)
datasets = {}
for link in links["input"]:
    manifest = SQLiteStorage.get_artifact_manifest(project, link["name"], f"v{link['version']}")
    datasets[manifest["manifest"][0]["digest"]] = manifest["metadata"]["used_for"]
alerts = SQLiteStorage.get_alerts(project, name)
print(
    json.dumps(
        {
            "params": flatten(config.get("params", {})),
            "series": series,
            "state": config["state"],
            "error": config["error"],
            "native_state": [alert["title"] for alert in alerts],
            "num_runs": len(records),
            "artifacts": [link["name"].removeprefix(f"{run_id[:8]}-") for link in links["output"]],
            "datasets": datasets,
        }
    )
)
