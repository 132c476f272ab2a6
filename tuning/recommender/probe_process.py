"""Find out facts in a process of its own, which can be ended when it takes too long.

A template may count to ten to the twelfth and a file may hold anything; a thread that reads them cannot be stopped. The
process opens no file outside the folders that it is given, wherever a file in them, such as the record of a finished
run, may point.
"""

from __future__ import annotations

import errno
import json
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tuning.config.ir import IR
from tuning.errors import DataError, UserError
from tuning.recommender.facts import Facts, probe

MOST_MEMORY_BYTES = 4 << 30
"""Memory that the process may ask for."""
_REFUSAL = b"refused: "
"""Starts an answer that is a message; facts start with a brace."""


def probe_apart(ir: IR, seconds: float, folders: Sequence[Path]) -> Facts:
    """Probe a document in another process, without network and without files outside `folders`, which are resolved.

    Raises:
        UserError: the rows cannot be read, or not within `seconds` or the memory that is given.
    """
    command = [sys.executable, "-m", __name__, f"{seconds:g}"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    request = json.dumps({"values": ir.values, "sources": ir.sources, "folders": [*map(str, folders)]}).encode()
    try:
        done = subprocess.run(command, input=request, env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"the model, the rows or a template took longer than {seconds:g} seconds to look at") from error
    if done.returncode != 0:
        raise UserError("the model or the rows are more than this server can look at")
    if done.stdout.startswith(_REFUSAL):
        raise DataError(done.stdout.removeprefix(_REFUSAL).decode())
    return TypeAdapter(Facts).validate_json(done.stdout)


def main() -> None:
    """Answer one request: a document on standard input, facts or a message on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    _limit(float(sys.argv[1]))
    request: dict[str, Any] = json.load(sys.stdin.buffer)
    sys.addaudithook(partial(_refuse_outside, _readable(request["folders"])))
    try:
        answer = TypeAdapter(Facts).dump_json(probe(IR(request["values"], request["sources"])))
    except UserError as error:
        answer = _REFUSAL + str(error).encode(errors="replace")
    with answers:
        answers.write(answer)


def _limit(seconds: float) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _readable(folders: list[str]) -> tuple[str, ...]:
    """List what may be read: the given folders, Python with its packages, and what the system tells of the machine."""
    python = [*sysconfig.get_paths().values(), str(Path(__file__).parent.parent), *site.getsitepackages()]
    machine = ["/proc/cpuinfo", "/proc/meminfo", "/proc/self", f"/proc/{os.getpid()}", "/sys", os.devnull]
    return tuple(os.path.realpath(path) for path in [*folders, *python, *machine])


def _refuse_outside(readable: tuple[str, ...], event: str, arguments: tuple[Any, ...]) -> None:
    """Raise for an attempt to open a file elsewhere; a reader takes it for a file that it may not read."""
    if event.startswith("socket.connect"):
        raise PermissionError("no network here")
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not any(path == allowed or path.startswith(f"{allowed.rstrip(os.sep)}{os.sep}") for allowed in readable):
            raise PermissionError(errno.EACCES, "outside the folders that may be read")


if __name__ == "__main__":
    main()
