"""Whether the servers that a run reports to answer, and whether there is a token for the Hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from tuning.config.sections import Tracking
from tuning.doctor.finding import Finding

_SECONDS = 3.0
_PORTS = {"http": 80, "https": 443, "aim": 53800}
"""Ports of addresses that name none. Source: RFC 9110; the default of `aim server`."""
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


class Server(NamedTuple):
    """One server of a tracker, and the field that names it."""

    tracker: str
    field: str
    host: str
    port: int


def servers_of(tracking: Tracking) -> list[Server]:
    """List the servers that the trackers of a run are sent to."""
    asked = set(tracking.trackers or ())
    found: list[Server | None] = []
    if "aim" in asked and tracking.aim_remote_server_ip:
        port = tracking.aim_remote_server_port or _PORTS["aim"]
        found.append(Server("aim", "tracking.aim_remote_server_ip", tracking.aim_remote_server_ip, port))
    addresses = (
        ("aim", "aim_url", tracking.aim_url),
        ("aim", "aim_repo", tracking.aim_repo),
        ("mlflow", "mlflow_tracking_uri", tracking.mlflow_tracking_uri),
        ("wandb", "wandb_base_url", tracking.wandb_base_url if tracking.wandb_mode == "online" else None),
    )
    found += [_server(name, f"tracking.{field}", url) for name, field, url in addresses if name in asked and url]
    return [server for server in found if server is not None]


def server_findings(tracking: Tracking) -> Iterator[Finding]:
    """Try to reach each server; nothing is sent."""
    for server in servers_of(tracking):
        name, where = f"server of {server.tracker}", f"{server.host}:{server.port}"
        why = _why_unreachable(server)
        if why is None:
            yield Finding(name, "ok", f"{where} answers")
        else:
            hint = f"Start it, or correct {server.field}. A run goes on without it; `tune sync` delivers later."
            yield Finding(name, "warning", f"{where} does not answer: {why}", hint)


def token_finding(environ: Mapping[str, str] = os.environ) -> Finding:
    """Tell whether there is a token for the Hub, and never what it is."""
    name = next((name for name in _TOKENS if environ.get(name)), None)
    if name is not None:
        return Finding("Hub token", "ok", f"set in {name}")
    from huggingface_hub import get_token

    if get_token():
        return Finding("Hub token", "ok", "saved on this machine")
    return Finding("Hub token", "skipped", "none: public models need none, gated ones such as Llama and Gemma do")


def _server(tracker: str, field: str, url: str) -> Server | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or port is None:
        return None
    return Server(tracker, field, parts.hostname, port)


def _why_unreachable(server: Server) -> str | None:
    try:
        with socket.create_connection((server.host, server.port), timeout=_SECONDS):
            return None
    except OSError as error:
        return error.strerror or str(error)
