"""Answer W&B's client as its server does, as far as runs and their histories go: wandb_server.py FOLDER PORT.

The histories are kept in FOLDER/histories.json and the newest summaries in FOLDER/summaries.json, so that they outlast
this process.
"""

from __future__ import annotations

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

store, port = Path(sys.argv[1]) / "histories.json", int(sys.argv[2])
histories: dict[str, list[Any]] = json.loads(store.read_text()) if store.exists() else {}
summary_store = store.with_name("summaries.json")
summaries: dict[str, Any] = json.loads(summary_store.read_text()) if summary_store.exists() else {}
PROJECT = {"id": "p", "name": "p", "entity": {"id": "e", "name": "entity"}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self.answer({})

    def do_PUT(self) -> None:
        self.body()
        self.answer({})

    def do_POST(self) -> None:
        request = json.loads(self.body() or b"{}")
        if "file_stream" in self.path:
            self.store_rows(self.path.split("/")[4], request.get("files") or {})
            return self.answer({})
        return self.answer({"data": graphql(request.get("query", ""), request.get("variables") or {})})

    def store_rows(self, run: str, files: dict[str, Any]) -> None:
        history = files.get("wandb-history.jsonl")
        if history is not None:
            rows = histories.setdefault(run, [])
            rows[history["offset"] :] = [json.loads(row) for row in history["content"]]
            store.write_text(json.dumps(histories))
        if "wandb-summary.json" in files:
            summaries[run] = json.loads(files["wandb-summary.json"]["content"][-1])
            summary_store.write_text(json.dumps(summaries))

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def answer(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def graphql(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    run = str(variables.get("name"))
    if "UpsertBucket" in query:
        num_rows = len(histories.setdefault(run, []))
        bucket = {"id": run, "name": run, "displayName": run, "config": "{}", "historyLineCount": num_rows}
        return {"upsertBucket": {"bucket": {**bucket, "project": PROJECT}, "inserted": num_rows == 0}}
    if "RunResumeStatus" in query:
        return {"model": {**PROJECT, "bucket": resume_status(run) if run in histories else None}}
    if "CreateRunFiles" in query:
        files = [
            {"name": name, "uploadUrl": f"http://127.0.0.1:{port}/{name}"} for name in variables.get("files") or []
        ]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}
    return {"viewer": {"id": "v", "entity": "entity", "username": "u", "flags": "{}"}, "serverInfo": None}


def resume_status(run: str) -> dict[str, Any]:
    rows = histories[run]
    return {
        "name": run, "displayName": run, "summaryMetrics": "{}", "config": "{}", "tags": [], "wandbConfig": '{"t": 1}',
        "historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0,
        "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]), "eventsTail": "[]",
    }  # fmt: skip


ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
