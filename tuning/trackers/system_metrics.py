"""How busy the machine is while a run goes on, sampled by a thread of its own.

The step of these series is the number of whole seconds since the run began, not the Trainer's step: a step that takes
minutes has many samples. A resumed run goes on counting from its first beginning.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

PREFIX = "system/"
_GIB = 1 << 30
_MIB_PER_GIB = 1024
_NVIDIA_SMI_SECONDS = 10.0
_LONGEST_STOP_SECONDS = 0.5

Track = Callable[[Mapping[str, float], int], None]


class SystemMetrics:
    """Sample this process and its machine every `interval` seconds; `track` gets the values and the second.

    `began` is when the run began, in seconds since 1970.
    """

    def __init__(self, track: Track, interval: float, began: float) -> None:
        self._track = track
        self._interval = interval
        self._began = began
        self._stopped = threading.Event()
        self._probe = Probe()
        self._thread = threading.Thread(target=self._run, name="tracking-system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end; a sample that hangs is left behind."""
        self._stopped.set()
        self._thread.join(_LONGEST_STOP_SECONDS)
        if not self._thread.is_alive():
            self._sample(with_gpus=False)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._sample(with_gpus=True)

    def _sample(self, with_gpus: bool) -> None:
        try:
            values = self._probe.process_and_machine() | (self._probe.gpus() if with_gpus else {})
        except Exception as error:  # a machine that hides its numbers is no reason to warn more than once
            logger.debug("system metrics: %s", error)
            return
        if not with_gpus or not self._stopped.is_set():
            self._track(values, int(time.time() - self._began))


class Probe:
    """Ask the operating system, and `nvidia-smi` where there is one, for numbers since the question before."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._nvidia_smi = shutil.which("nvidia-smi", path=environ.get("PATH"))
        self._chosen_gpus = environ.get("CUDA_VISIBLE_DEVICES")
        # The first answer to both questions is always 0: there is nothing yet to compare with.
        self._process.cpu_percent()
        psutil.cpu_percent()

    def process_and_machine(self) -> dict[str, float]:
        """Return percent and GiB; a process that keeps two cores busy has 200 percent, a machine at most 100."""
        return {
            f"{PREFIX}process_cpu_percent": self._process.cpu_percent(),
            f"{PREFIX}process_memory_gib": self._process.memory_info().rss / _GIB,
            f"{PREFIX}cpu_percent": self._psutil.cpu_percent(),
            f"{PREFIX}memory_used_gib": self._psutil.virtual_memory().used / _GIB,
        }

    def gpus(self) -> dict[str, float]:
        """Return utilisation in percent and memory in GiB of each GPU that this process may use."""
        if self._nvidia_smi is None or self._chosen_gpus in ("", "-1"):
            return {}
        query = [self._nvidia_smi, "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        query += [f"--id={self._chosen_gpus}"] if self._chosen_gpus else []
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            logger.warning("System metrics: GPUs are left out, nvidia-smi does not answer: %s", error)
            self._nvidia_smi = None
            return {}
        return gpu_metrics(answer.stdout)


def gpu_metrics(answer: str) -> dict[str, float]:
    """Read lines of `index, utilisation in percent, memory in MiB`; what a GPU does not tell is left out."""
    metrics = {}
    for line in answer.splitlines():
        index, *values = (part.strip() for part in line.split(","))
        for name, value, divisor in zip(("utilization_percent", "memory_gib"), values, (1, _MIB_PER_GIB), strict=False):
            if value.replace(".", "", 1).isdigit():
                metrics[f"{PREFIX}gpu_{index}_{name}"] = float(value) / divisor
    return metrics


def peak_memory() -> dict[str, float]:
    """Return the most memory that this process ever had, GiB: of the machine, and of each GPU through torch."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # Source: getrusage(2): kilobytes on Linux, bytes on macOS
    peak = {"summary/peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB}
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        for index in range(torch.cuda.device_count()):
            if (most := torch.cuda.max_memory_reserved(index)) > 0:
                peak[f"summary/peak_gpu_{index}_memory_gib"] = most / _GIB
    return peak
