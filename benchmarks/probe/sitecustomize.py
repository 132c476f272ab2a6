"""Measure a training from inside: Python imports this by itself where the folder stands on PYTHONPATH.

Every system is measured by the same means, whatever trainer it brings: torch's hook after an optimizer's step tells
when a step ends, and the ids that reach the embedding with gradients on tell how many tokens are no padding. One JSON
line for each step goes to the file BENCHMARK_STEPS. BENCHMARK_MARKS names modules and `module:function`s, separated by
commas, whose time is told there, too. It imports nothing that the training would not.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, of the children it has waited for, and of what launched it."""
    return sum(os.times()[:4]) + sum(_of_process(pid) for pid in _launchers())


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    with open("/proc/self/status") as lines:
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _launchers() -> list[int]:
    """List the processes between this one and the benchmark."""
    found, pid = [], os.getppid()
    while pid > 1 and str(pid) != os.environ.get("BENCHMARK_PID"):
        found.append(pid)
        pid = int(_stat(pid)[1])
    return found if pid > 1 else []


def _of_process(pid: int) -> float:
    return sum(int(ticks) for ticks in _stat(pid)[11:13]) / _CLOCK_TICKS


def _stat(pid: int) -> list[str]:
    """Read what the kernel tells of a process, from its state on."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


class Probe:
    """What is measured in this process, and where it is written."""

    def __init__(self, file: str, padding_ids: str) -> None:
        self._file = file
        self._padding_ids = [int(one) for one in padding_ids.split(",") if one]
        self._num_steps = 0
        self._num_tokens: Any = 0

    def tell(self, **fields: Any) -> None:
        """Write one line."""
        with open(self._file, "a") as file:
            file.write(json.dumps(fields) + "\n")

    def count(self, ids: Any) -> None:
        """Add the ids of a batch that are no padding; the sum stays on its device until the step ends."""
        for one in self._padding_ids:
            self._num_tokens = self._num_tokens - (ids == one).sum()
        self._num_tokens = self._num_tokens + ids.numel()

    def end_step(self, *_: object) -> None:
        """Tell of a step that has just ended."""
        torch = sys.modules["torch"]
        is_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        if is_cuda:
            torch.cuda.synchronize()
        self._num_steps += 1
        self.tell(
            step=self._num_steps,
            at=time.monotonic(),
            cpu=cpu_seconds(),
            tokens=int(self._num_tokens),
            peak=peak_bytes(),
            gpu_peak=torch.cuda.max_memory_reserved() if is_cuda else 0,
        )

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that each call of it is told."""

        @functools.wraps(work)
        def call(*args: Any, **kwargs: Any) -> Any:
            begin, cpu = time.monotonic(), cpu_seconds()
            try:
                return work(*args, **kwargs)
            finally:
                is_main = threading.current_thread() is threading.main_thread()
                times = {"begin": begin, "end": time.monotonic(), "cpu_begin": cpu, "cpu_end": cpu_seconds()}
                self.tell(phase=name, is_main=is_main, **times)

        return call

    def watch(self, module: Any, marks: list[str]) -> None:
        """Change a module that has just been imported."""
        if module.__name__ == "torch.optim.optimizer":
            module.register_optimizer_step_post_hook(self.end_step)
        if module.__name__ == "torch.nn.functional":
            module.embedding = self._counted(module.embedding)
        for mark in marks:
            *path, name = mark.split(".")
            owner: Any = functools.reduce(getattr, path, module)
            found = vars(owner)[name]
            work = found.__func__ if isinstance(found, classmethod) else found
            timed = self.timed(f"{module.__name__}:{mark}", work)
            setattr(owner, name, classmethod(timed) if isinstance(found, classmethod) else timed)

    def _counted(self, embedding: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(embedding)
        def call(input: Any, *args: Any, **kwargs: Any) -> Any:
            if sys.modules["torch"].is_grad_enabled():
                self.count(input)
            return embedding(input, *args, **kwargs)

        return call


class Finder(MetaPathFinder):
    """Find the modules that are watched as Python would, and have the probe change or time them."""

    def __init__(self, probe: Probe, marks: dict[str, list[str]], timed: set[str]) -> None:
        self._probe = probe
        self._marks = marks
        self._timed = timed

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Find one module, once."""
        if fullname not in self._marks:
            return None
        marks = self._marks.pop(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = WatchingLoader(spec.loader, self._probe, marks, fullname in self._timed)
        return spec


class WatchingLoader(Loader):
    """Load a module by its own loader, then hand it to the probe."""

    def __init__(self, inner: Any, probe: Probe, marks: list[str], is_timed: bool) -> None:
        self._inner = inner
        self._probe = probe
        self._marks = marks
        self._is_timed = is_timed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create_module(self, spec: Any) -> ModuleType | None:
        """Make the module as its own loader does."""
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, and change it."""
        module.__loader__ = self._inner
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        load = self._inner.exec_module
        (self._probe.timed(f"import {module.__name__}", load) if self._is_timed else load)(module)
        self._probe.watch(module, self._marks)


def start(file: str, padding_ids: str, asked: str) -> None:
    """Watch what is imported from now on."""
    marks: dict[str, list[str]] = {"torch.optim.optimizer": [], "torch.nn.functional": []}
    timed = set()
    for mark in filter(None, asked.split(",")):
        module, _, function = mark.partition(":")
        marks.setdefault(module, []).extend([function] if function else [])
        timed |= set() if function else {module}
    sys.meta_path.insert(0, Finder(Probe(file, padding_ids), marks, timed))


if "BENCHMARK_STEPS" in os.environ:
    start(os.environ["BENCHMARK_STEPS"], os.environ.get("BENCHMARK_PADDING", ""), os.environ.get("BENCHMARK_MARKS", ""))
