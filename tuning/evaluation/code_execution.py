"""Run generated code against tests, in processes that can compute and nothing else."""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tuning.errors import UserError

SECONDS = 10.0
"""Longest that one program may take, by the clock."""
MEMORY_BYTES = 1 << 30
_MOST_AT_ONCE = 4
_SCRIPT = Path(__file__).with_name("locked_process.py")
_FENCED = re.compile(r"```[^\n]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_MACHINES = ("x86_64", "aarch64")


def unlockable() -> str | None:
    """Say why no process can be locked down here; None: it can."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"it needs Linux on {' or '.join(_MACHINES)}, and this is {sys.platform} on {platform.machine()}"
    if not _passes_here():
        return "this kernel, or the container, grants no filter of system calls (seccomp)"
    return None


@functools.cache
def _passes_here() -> bool:
    return passes("")


def passes_all(programs: Sequence[str], seconds: float = SECONDS) -> list[bool]:
    """Run programs, some at a time; tells for each whether it ran to its end.

    Raises:
        UserError: no process can be locked down here.
    """
    if (reason := unlockable()) is not None:
        raise UserError(f"generated code is not run: {reason}")
    with ThreadPoolExecutor(min(_MOST_AT_ONCE, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda program: passes(program, seconds), programs))


def passes(program: str, seconds: float = SECONDS) -> bool:
    """Run one program in a locked process; tell whether it ran to its end, without an exception, in time.

    It sees an empty folder, no environment variables, and the modules of the standard library that need no files. A
    program that is made to deceive can pass: its tests run beside it, and by objects that it may have tampered with.
    """
    answer = secrets.token_hex().encode()
    job = {"program": program, "answer": answer.decode(), "seconds": int(seconds) + 1, "memory_bytes": MEMORY_BYTES}
    # Files and no pipes: what is written is bounded by the kernel, and nobody has to read it while the program runs.
    with tempfile.TemporaryDirectory(prefix="tuning-code-") as folder, _file() as stdin, _file() as stdout:
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_SCRIPT)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            returncode = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()  # it has no children
            process.wait()
        stdout.seek(0)
        return returncode == 0 and stdout.read(len(answer) + 1) == answer


def _file() -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="tuning-code-", buffering=0)


def program_of(prompt: str, generated: str, tests: str, entry_point: str | None) -> str:
    """Put a program together: the prompt's beginning, what was generated, the tests, and their call.

    Of generated text with a fenced block, the first block is the code.
    """
    fenced = _FENCED.search(generated)
    code = fenced[1] if fenced else generated
    call = f"check({entry_point})" if entry_point else ""
    return f"{prompt}{code}\n\n{tests}\n{call}\n"
