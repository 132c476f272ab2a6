"""Serve a copy of an MLflow database over HTTP: mlflow_server.py FOLDER PORT."""

from __future__ import annotations

import os
import sys

folder, port = sys.argv[1], int(sys.argv[2])
os.environ.update(
    _MLFLOW_SERVER_FILE_STORE=f"sqlite:///{folder}/mlflow.db",
    _MLFLOW_SERVER_ARTIFACT_ROOT=f"{folder}/artifacts",
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    MLFLOW_DISABLE_TELEMETRY="true",
)


def serve() -> None:
    import mlflow.server  # reads the variables above
    from werkzeug.serving import make_server

    make_server("127.0.0.1", port, mlflow.server.app, threaded=True).serve_forever()


serve()
