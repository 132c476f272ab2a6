"""Malformed documents, rules, rows and packages: refused before torch is imported, in one message, without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import malformed_configs
import malformed_data
import malformed_plugins
import pytest
from malformed import Case, Outcome, folder_of, outcomes

pytestmark = pytest.mark.slow

CONFIGS, DATA, PACKAGES = malformed_configs.ALL, malformed_data.ALL, malformed_plugins.ALL
LONGEST_MESSAGE = 5000
"""Characters: thirty problems, each with what to do."""
AS_A_COMMAND = (
    *(
        "document: a new object in YAML",
        "document: an endless device",
        "document: a pipe",
        "document: a key of 10,000 letters",
    ),
    *("environment: a pickle", "rules: code", "rules: rules that leave", "data config: a Python object"),
    *(
        "rows: null bytes",
        "rows: a template that escapes",
        "tables: parquet that is damaged",
        "tables: zstd that is cut",
    ),
    *("places: links in a circle", "places: a device", "command line: a lone surrogate"),
)


def is_refused(outcome: Outcome, told: str) -> bool:
    """Tell whether a command ended with the code 1 and one message that says enough, and left everything as it was."""
    assert outcome.code == 1, outcome
    assert told in outcome.err
    assert "Traceback" not in outcome.err and len(outcome.err) < LONGEST_MESSAGE
    return (outcome.out, outcome.written, outcome.heavy) == ("", [], [])


@pytest.fixture(scope="module")
def of_configs(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return outcomes(CONFIGS, "tuning.sft_trainer:main", tiny_config_only_model, tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def of_data(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return outcomes(DATA, "tuning.sft_trainer:main", tiny_config_only_model, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def of_packages(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return outcomes(PACKAGES, "tuning.cli:main", tiny_config_only_model, tmp_path_factory.mktemp("packages"))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_malformed_configuration_is_refused(name: str, of_configs: dict[str, Outcome]) -> None:
    assert is_refused(of_configs[name], CONFIGS[name].told)


@pytest.mark.parametrize("name", DATA)
def test_malformed_rows_are_refused(name: str, of_data: dict[str, Outcome]) -> None:
    assert is_refused(of_data[name], DATA[name].told)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_malformed_package_of_somebody_else_s_is_refused(name: str, of_packages: dict[str, Outcome]) -> None:
    assert is_refused(of_packages[name], PACKAGES[name].told)


def case_of(name: str) -> Case:
    return {**CONFIGS, **DATA}[name]


@pytest.mark.parametrize("name", AS_A_COMMAND)
def test_the_command_itself_refuses_it_too(name: str, tiny_config_only_model: Path, tmp_path: Path) -> None:
    case = case_of(name)
    folder = folder_of(case, tmp_path / "case", tiny_config_only_model)
    before = sorted(folder.rglob("*"))
    environment = {**os.environ, **{key: value.format(folder=folder) for key, value in case.environment.items()}}
    command = [sys.executable, "-m", "tuning.sft_trainer", *case.words]
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, sorted(folder.rglob("*"))) == (1, "", before)
    assert case.told in done.stderr and "Traceback" not in done.stderr
