from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tuning.trackers.replay import read_series
from tuning.trackers.system_metrics import Probe, SystemMetrics, gpu_metrics, peak_memory
from tuning.trackers.tracker_factory import create_tracker


def nvidia_smi(folder: Path, script: str) -> dict[str, str]:
    """Put a command called nvidia-smi into a folder; returns an environment that finds it."""
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_a_busy_process_has_percent_and_memory() -> None:
    probe = Probe()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        sum(range(1000))
    values = probe.process_and_machine()
    assert 0 < values["system/process_cpu_percent"] < 1000 and 0 < values["system/cpu_percent"] <= 100
    assert 0 < values["system/process_memory_gib"] < values["system/memory_used_gib"]


def test_gpus_are_read_as_nvidia_smi_writes_them() -> None:
    assert gpu_metrics("0, 87, 2048\n1, [N/A], 512\n") == {
        "system/gpu_0_utilization_percent": 87.0,
        "system/gpu_0_memory_gib": 2.0,
        "system/gpu_1_memory_gib": 0.5,
    }


def test_only_the_gpus_of_this_process_are_asked_for(tmp_path: Path) -> None:
    environ = nvidia_smi(tmp_path / "bin", 'case "$*" in *--id=1,3*) echo "1, 5, 1024"; echo "3, 6, 1024";; esac')
    values = Probe({**environ, "CUDA_VISIBLE_DEVICES": "1,3"}).gpus()
    assert values["system/gpu_3_utilization_percent"] == 6.0 and len(values) == 4
    assert Probe({**environ, "CUDA_VISIBLE_DEVICES": ""}).gpus() == {}


def test_a_failing_nvidia_smi_is_asked_once_and_warned_of(tmp_path: Path, caplog: Any) -> None:
    probe = Probe(nvidia_smi(tmp_path / "bin", f"echo x >> {tmp_path / 'asked'}; exit 9"))
    assert probe.gpus() == {} == probe.gpus()
    assert (tmp_path / "asked").read_text() == "x\n" and caplog.text.count("GPUs are left out") == 1


def test_without_nvidia_smi_there_are_no_gpus(tmp_path: Path) -> None:
    assert Probe({"PATH": str(tmp_path)}).gpus() == {}


def test_samples_count_the_seconds_since_the_run_began() -> None:
    samples: list[tuple[dict[str, float], int]] = []
    metrics = SystemMetrics(lambda values, second: samples.append((dict(values), second)), 0.05, time.time() - 100)
    time.sleep(0.2)
    metrics.stop()
    assert len(samples) >= 3 and {second for _, second in samples} <= {100, 101}


def test_a_run_that_ends_at_once_has_one_sample(run_dir: Path) -> None:
    create_tracker({"system_metrics_interval": 60}, run_dir).finish()
    series = read_series(run_dir / "tracking" / "events.jsonl")
    assert len(series["system/process_memory_gib"]) == 1 and series["summary/peak_memory_gib"][0][1] > 0


def test_a_resumed_run_goes_on_counting(run_dir: Path) -> None:
    create_tracker({"system_metrics_interval": 60}, run_dir).finish()
    time.sleep(1.1)
    create_tracker({"system_metrics_interval": 60}, run_dir).finish()
    steps = [step for step, _ in read_series(run_dir / "tracking" / "events.jsonl")["system/cpu_percent"]]
    assert len(steps) == 2 and steps[0] < steps[1]


@pytest.mark.parametrize("interval", [0, None])
def test_no_interval_means_no_samples(run_dir: Path, interval: float | None) -> None:
    create_tracker({"system_metrics_interval": interval}, run_dir).finish()
    assert read_series(run_dir / "tracking" / "events.jsonl") == {}


def test_a_sample_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", "sleep 4")["PATH"])
    samples: list[Any] = []
    metrics = SystemMetrics(lambda values, second: samples.append(values), 0.01, time.time())
    time.sleep(0.2)
    begin = time.monotonic()
    metrics.stop()
    assert time.monotonic() - begin < 2 and samples == []


def test_the_peak_outlasts_what_it_was_needed_for() -> None:
    code = (
        "from tuning.trackers.system_metrics import peak_memory\n"
        "block = bytearray(300 << 20); del block\n"
        "print(peak_memory()['summary/peak_memory_gib'])"
    )
    root = Path(__file__).parents[2]
    peak = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout
    assert 0.29 < float(peak) < 2 and peak_memory()["summary/peak_memory_gib"] > 0
