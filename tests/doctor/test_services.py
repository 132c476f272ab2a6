from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tuning.config.sections import Tracking
from tuning.doctor.services import Server, server_findings, servers_of, token_finding


@pytest.fixture
def port() -> Iterator[int]:
    """Listen on a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize(
    ("tracking", "where"),
    [
        ({"trackers": ["aim"], "aim_url": "aim://tracking:53800"}, ("aim", "tracking", 53800)),
        (
            {"trackers": ["aim"], "aim_remote_server_ip": "10.0.0.7", "aim_remote_server_port": 9},
            ("aim", "10.0.0.7", 9),
        ),
        ({"trackers": ["mlflow"], "mlflow_tracking_uri": "http://mlflow:5000"}, ("mlflow", "mlflow", 5000)),
        (
            {"trackers": ["wandb"], "wandb_mode": "online", "wandb_base_url": "https://wandb.local"},
            ("wandb", "wandb.local", 443),
        ),
    ],
)
def test_servers_are_read_from_the_fields_of_trackers(tracking: dict[str, Any], where: tuple[str, str, int]) -> None:
    (server,) = servers_of(Tracking(**tracking))
    assert (server.tracker, server.host, server.port) == where


@pytest.mark.parametrize(
    "tracking",
    [
        {"mlflow_tracking_uri": "http://mlflow:5000"},
        {"trackers": ["mlflow"], "mlflow_tracking_uri": "sqlite:///runs.db"},
        {"trackers": ["wandb"], "wandb_base_url": "https://wandb.local"},
        {"trackers": ["aim"], "aim_repo": "repository"},
        {"trackers": ["mlflow"], "mlflow_tracking_uri": "http://mlflow:notaport"},
    ],
)
def test_files_and_trackers_that_are_not_asked_for_have_no_server(tracking: dict[str, Any]) -> None:
    assert servers_of(Tracking(**tracking)) == []


def test_a_server_that_listens_answers(port: int) -> None:
    tracking = Tracking(trackers=["mlflow"], mlflow_tracking_uri=f"http://127.0.0.1:{port}")
    (found,) = server_findings(tracking)
    assert (found.state, found.told) == ("ok", f"127.0.0.1:{port} answers")


def test_a_server_that_is_down_is_a_warning_that_names_the_field() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = listening.getsockname()[1]
    (found,) = server_findings(Tracking(trackers=["aim"], aim_url=f"aim://127.0.0.1:{closed}"))
    assert found.state == "warning" and "tracking.aim_url" in found.hint
    assert Server("aim", "tracking.aim_url", "127.0.0.1", closed) in servers_of(
        Tracking(trackers=["aim"], aim_url=f"aim://127.0.0.1:{closed}")
    )


def test_a_token_is_never_shown() -> None:
    found = token_finding({"HF_TOKEN": "hf_secret"})
    assert found.told == "set in HF_TOKEN"
    assert "hf_secret" not in str(found.to_dict())


def test_no_token_is_no_fault() -> None:
    assert token_finding({}).state in ("ok", "skipped")
