from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tuning.trackers.environment import VARIABLES, environment, git_state, hardware, package_versions


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    (tmp_path / "file").write_text("a")
    who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=trunk", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_of_a_repository_is_told(repository: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout.strip()
    assert git_state(repository) == {"commit": commit, "branch": "trunk", "dirty": False}


def test_a_changed_file_makes_a_repository_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "new").write_text("b")
    assert git_state(repository)["dirty"] is False
    (repository / "file").write_text("b")
    assert git_state(repository)["dirty"] is True


def test_outside_a_repository_nothing_is_told_of_git(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}


def test_without_git_nothing_is_told_of_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository) == {}


def test_versions_are_those_of_the_installed_packages() -> None:
    assert package_versions(["pytest", "no-such-package"]) == {"pytest": version("pytest")}


def test_the_machine_is_described() -> None:
    described = hardware()
    assert described["cpu"] and described["cpu_threads"] >= 1 and described["memory_gib"] > 0


def test_gpus_are_those_that_nvidia_smi_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB, 550.1'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware()["gpus"] == ["NVIDIA H100, 81559 MiB, 550.1"]


def test_of_the_variables_only_harmless_ones_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    described = environment(["run.json"], tmp_path)
    assert described["variables"]["OMP_NUM_THREADS"] == "3" and set(described["variables"]) <= set(VARIABLES)
    assert described["argv"] == ["run.json"] and described["working_directory"] == str(tmp_path)


def test_looking_at_the_environment_imports_nothing_dear() -> None:
    code = (
        "import sys; from tuning.trackers.environment import environment; environment();"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "[]\n"
