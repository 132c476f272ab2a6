"""Malformed input to the recommender's command: one clear message and nothing written, or a completion; no torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile_cases import ALL, COMPLETED
from malformed import Outcome, outcomes

SECONDS = 20.0
"""No case may take longer; most take a tenth of a second, and the machine may be busy."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def done(tiny_config_only_model: Path, work: Path) -> dict[str, Outcome]:
    """Run the command on every case, without a way to the network."""
    output = ("--output-dir", "completed")
    return outcomes(ALL, "tuning.recommender.cli:main", tiny_config_only_model, work, *output)


@pytest.mark.parametrize("name", ALL)
def test_malformed_input_is_refused_with_one_message_or_completed(
    name: str, done: dict[str, Outcome], work: Path
) -> None:
    outcome, told, folder = done[name], ALL[name].told, work / str(list(ALL).index(name))
    assert "Traceback" not in outcome.err
    if told == COMPLETED:
        assert outcome.code == 0, outcome.err
        json.loads((folder / "completed" / "config.json").read_text())
    else:
        assert (outcome.code, outcome.out, outcome.written) == (1, "", [])
        assert told in outcome.err
    assert len(outcome.err) < 2000
    assert outcome.cpu_seconds < SECONDS
    assert not list(folder.rglob("pwned*"))


def test_torch_is_imported_for_none_of_it(done: dict[str, Outcome]) -> None:
    assert [name for name, outcome in done.items() if outcome.heavy] == []
