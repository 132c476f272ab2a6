from __future__ import annotations

import pytest

from tuning.trackers.mlflow_tracker import without_user


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("http://me:pass@host:5000/", "http://host:5000"),
        ("https://me@host/mlflow", "https://host/mlflow"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_the_link_to_a_server_holds_no_password(address: str, link: str) -> None:
    assert without_user(address) == link
