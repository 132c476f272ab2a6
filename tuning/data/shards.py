"""Tokenize rows into Arrow files, with several processes: `python -m tuning.data.shards JOB` is one of them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tuning.data.encoding import Encoding, one_thread
from tuning.data.sources import Row, Skipped
from tuning.data.token_table import token_schema
from tuning.data.tokenization import TokenRow
from tuning.errors import DataError, TuningError

if TYPE_CHECKING:
    import pyarrow

ROWS_PER_PROCESS = 10_000
"""Rows from which on a process of its own pays. Source: measured with 20,000 short rows on a CPU of 2 cores: a process
takes 0.35 s to start, in which another tokenizes some 3,000 of them."""
_BATCH_ROWS = 1_000
_OUTCOME = ".outcome"


class Refused(NamedTuple):
    """A converted row that cannot be tokenized: its number, counted from 0, and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class Job:
    """A share of the rows for one process; `first` is the number of its first row among all."""

    encoding: Encoding
    rows: Sequence[Mapping[str, Any]]
    first: int
    file: str

    def run(self) -> list[Refused]:
        """Write the rows' tokens to the file; returns the rows that cannot be tokenized."""
        refused: list[Refused] = []

        def refuse(row: int, error: DataError) -> None:
            refused.append(Refused(self.first + row, str(error)))

        _write(Path(self.file), self.encoding.token_rows(self.rows, refuse), self.first)
        return refused


def write_shards(
    rows: Sequence[Row], encoding: Encoding, folder: Path, name: str, num_processes: int | None
) -> tuple[list[Path], list[Skipped]]:
    """Tokenize rows into one Arrow file per process; returns the files, and the rows that cannot be tokenized.

    `num_processes` None: as many as there are cores, where there are rows enough for them.
    """
    shares = _shares(len(rows), _num_processes(len(rows), encoding, num_processes))
    files = [folder / f"{name}-{number:05d}-of-{len(shares):05d}.arrow" for number in range(len(shares))]
    values = [row.values for row in rows]
    jobs = [Job(encoding, values[share], share.start, str(file)) for share, file in zip(shares, files, strict=True)]
    if not _write_jobs(jobs[1:]):
        return write_shards(rows, encoding, folder, name, num_processes=1)
    with one_thread():
        started: list[tuple[subprocess.Popen[bytes], Job]] = []
        try:
            for job in jobs[1:]:
                started.append((_start(job), job))
            refused = [*jobs[0].run(), *(one for process, job in started for one in _outcome(process, job))]
        finally:
            for process, _ in started:
                with process:  # which closes its pipes
                    process.kill()
    return files, [Skipped(rows[row].place, reason) for row, reason in refused]


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _num_processes(num_rows: int, encoding: Encoding, asked: int | None) -> int:
    if encoding.encode_slowly is not None:
        return 1
    return max(1, min(num_rows, asked) if asked else min(num_cores(), num_rows // ROWS_PER_PROCESS))


def _shares(num_rows: int, num_processes: int) -> list[slice]:
    ends = [num_rows * number // num_processes for number in range(num_processes + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _write_jobs(jobs: Sequence[Job]) -> bool:
    """Write each job into a file for its process; returns False, and leaves none, where JSON cannot hold the rows."""
    try:
        for job in jobs:
            encoding = {each.name: getattr(job.encoding, each.name) for each in fields(Encoding) if each.compare}
            document = {"encoding": encoding, "rows": job.rows, "first": job.first, "file": job.file}
            _job_file(job).write_text(json.dumps(document, default=_as_object), encoding="utf-8")
    except TypeError:
        for job in jobs:
            _job_file(job).unlink(missing_ok=True)
        return False
    return True


def _as_object(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def _job_file(job: Job) -> Path:
    return Path(f"{job.file}.job")


def _start(job: Job) -> subprocess.Popen[bytes]:
    """Start a process that imports neither torch nor the caller's script, which a spawned one would."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "tuning.data.shards", str(_job_file(job))]
    environ = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def _outcome(process: subprocess.Popen[bytes], job: Job) -> list[Refused]:
    errors = process.stderr.read() if process.stderr is not None else b""  # communicate() would close its stdin
    process.wait()
    outcome = Path(f"{job.file}{_OUTCOME}")
    if process.returncode != 0 or not outcome.is_file():
        told = errors.decode("utf-8", "replace").strip()
        raise TuningError(f"a process that tokenizes ended with {process.returncode}: {told}")
    found = json.loads(outcome.read_text(encoding="utf-8"))
    outcome.unlink()
    return [Refused(row, reason) for row, reason in found]


def _write(file: Path, tokens: Iterator[TokenRow], first: int) -> None:
    """Write tokens in the stream layout, which `datasets` maps into memory."""
    import pyarrow

    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, token_schema()) as writer:
        while batch := list(itertools.islice(tokens, _BATCH_ROWS)):
            writer.write_batch(_record_batch(batch, first))


def _record_batch(rows: Sequence[TokenRow], first: int) -> pyarrow.RecordBatch:
    import pyarrow

    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row.input_ids) for row in rows], out=offsets[1:])
    lists = [_lists(offsets, [row.input_ids for row in rows]), _lists(offsets, [row.labels for row in rows])]
    numbers = [
        np.array([first + row.row for row in rows], np.int32),
        np.array([row.num_lost for row in rows], np.int32),
    ]
    return pyarrow.record_batch([*lists, *map(pyarrow.array, numbers)], schema=token_schema())


def _lists(offsets: Any, values: Iterable[Sequence[int]]) -> pyarrow.ListArray:
    import pyarrow

    flat = np.fromiter(itertools.chain.from_iterable(values), np.int32, int(offsets[-1]))
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(flat))


def _end_with_parent() -> None:
    """End this process when the one that started it ends, or gives it up: then nothing holds its stdin open."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(file: Path) -> None:
    """Run the job in a file and leave beside its result which rows it refused."""
    _end_with_parent()
    document = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    job = Job(**{**document, "encoding": Encoding(**document["encoding"])})
    outcome = Path(f"{job.file}{_OUTCOME}")
    outcome.with_suffix(".part").write_text(json.dumps(job.run()), encoding="utf-8")
    outcome.with_suffix(".part").rename(outcome)


if __name__ == "__main__":
    from tuning.data import shards

    shards.main(Path(sys.argv[1]))
