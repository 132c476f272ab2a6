from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import pytest

from tuning.evaluation import code_execution
from tuning.evaluation.code_execution import passes, passes_all, program_of, unlockable

pytestmark = pytest.mark.skipif(unlockable() is not None, reason="no process can be locked down here")


def test_a_program_passes_when_it_runs_to_its_end() -> None:
    assert passes("import math\nassert math.sqrt(9) == 3")
    assert not passes("assert 1 == 2")
    assert not passes("this is no Python")


@pytest.mark.parametrize(
    "early_end",
    ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "quit()", "raise KeyboardInterrupt"],
)
def test_a_program_that_ends_early_does_not_pass(early_end: str) -> None:
    assert not passes(f"{early_end}\nassert False")


@pytest.mark.slow
def test_an_endless_program_is_ended() -> None:
    started = time.monotonic()
    assert not passes("while True: pass", seconds=1)
    assert not passes("import time\nwhile True: time.sleep(1)", seconds=1)
    assert time.monotonic() - started < 10


REFUSED = {
    "a process": "os.fork()",
    "a thread": "import threading; threading.Thread(target=print).start()",
    "another program": "import posix; posix.posix_spawn('/bin/true', ['true'], {})",
    "in the place of this one": "os.execv('/bin/true', ['true'])",
    "much memory": "bytearray(8 << 30)",
    "memory bit by bit": "list(iter(lambda: bytes(1 << 24), None))",
    "a higher limit": "resource.setrlimit(resource.RLIMIT_CPU, (9999, 9999))",
    "reading": "open('/etc/passwd').read()",
    "listing": "os.listdir('/')",
    "the parent's environment": "open(f'/proc/{PARENT}/environ').read()",
    "writing here": "open('file', 'w')",
    "a folder": "os.mkdir('folder')",
    "a connection": "SOCKET.socket()",
    "a pair of sockets": "SOCKET.socketpair()",
    "a signal": "os.kill(PARENT, 0)",
    "a call by number": "CALL(41, 2, 1, 0)",
    "another user": "os.setuid(0)",
}
PREPARED = f"import os\nPARENT = {os.getpid()}\n"


@pytest.mark.slow
@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_a_locked_process_is_refused(attempt: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_execution, "_SCRIPT", with_more_modules(tmp_path))
    program = f"{PREPARED}import {', '.join(NEEDED)}\nSOCKET = _socket\n{CALL}\n"
    program += f"try: {attempt}\nexcept (OSError, MemoryError, RuntimeError, ValueError): pass\nelse: assert False"
    assert passes(program, seconds=8)


NEEDED = ("_socket", "ctypes", "resource", "threading")
CALL = """
def CALL(*words):
    if ctypes.CDLL(None, use_errno=True).syscall(*words) < 0: raise OSError
"""


def with_more_modules(folder: Path) -> Path:
    """Write the script with more modules than it grants, so that what they do is tried, and not only their import."""
    text = code_execution._SCRIPT.read_text()
    script = folder / "locked_process.py"
    script.write_text(text.replace("    limit(job", f"    import {', '.join(NEEDED)}\n    limit(job"))
    return script


@pytest.mark.slow
def test_a_fork_bomb_and_a_tree_of_threads_make_nothing() -> None:
    assert not passes("import os\nwhile True: os.fork()", seconds=5)
    assert not passes("import os\nos.system(':(){ :|:& };:')\nassert os.system('true') == 0", seconds=5)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["socket", "subprocess", "urllib.request", "antigravity", "numpy"])
def test_modules_that_reach_out_are_not_there(module: str) -> None:
    assert passes(f"try: import {module}\nexcept (ImportError, OSError): pass\nelse: assert False")


def test_nothing_elsewhere_is_deleted_or_written(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("here")
    tries = [f"os.remove({str(kept)!r})", f"os.truncate({str(kept)!r}, 0)", f"os.rename({str(kept)!r}, 'x')"]
    tries += [f"open({str(tmp_path / 'new')!r}, 'w')", f"os.symlink('a', {str(tmp_path / 'link')!r})"]
    for attempt in tries:
        assert passes(f"import os\ntry: {attempt}\nexcept OSError: pass\nelse: assert False"), attempt
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "here"


def test_secrets_of_the_environment_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    assert passes("import os\nassert 'SOME_TOKEN' not in os.environ\nassert not os.environ.get('HOME')")


def test_the_verdict_cannot_be_written_by_the_program() -> None:
    assert not passes("import os\nfor fd in range(16):\n    try: os.write(fd, b'passed')\n    except OSError: pass")


def test_the_answer_cannot_be_looked_up_while_the_program_runs() -> None:
    search = """
import gc, os, sys
frame, found = sys._getframe(1), []
for holder in [frame.f_locals, frame.f_globals, *gc.get_objects(), *gc.get_referents(frame)]:
    values = holder.values() if isinstance(holder, dict) else holder if isinstance(holder, (list, tuple)) else [holder]
    found += [value for value in values if isinstance(value, (str, bytes)) and len(value) == 64]
for value in found:
    os.write(frame.f_locals['report'], value if isinstance(value, bytes) else value.encode())
os._exit(0)
"""
    assert not passes(search)


def test_a_program_that_writes_without_end_is_ended_in_time_and_fills_no_memory() -> None:
    flood = "import os\nwhile True:\n    for fd in range(16):\n        try: os.write(fd, bytes(1 << 20))\n"
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not passes(f"{flood}        except OSError: pass", seconds=1)
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_no_process_is_left(tmp_path: Path) -> None:
    before = children()
    passes("while True: pass", seconds=1)
    assert children() <= before


def children() -> set[str]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def test_of_fenced_text_the_first_block_is_the_code() -> None:
    program = program_of("", "Here:\n```python\nx = 1\n```\nand\n```\nx = 2\n```", "assert x == 1", None)
    assert passes(program)


FAULTY = {f"MBPP/{number}" for number in (596, 601, 607, 631, 642, 899, 927, 966, 967)}
"""Rows whose own solutions fail their own tests, in any Python."""


@pytest.mark.slow
def test_the_solutions_of_the_shared_rows_pass_their_tests_and_empty_ones_fail(shared_data: Path) -> None:
    lines = (shared_data / "code_mbpp.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    right = [program_of(row["prompt"], row["canonical_solution"], row["test"], row["entry_point"]) for row in rows]
    failed = {row["task_id"] for row, passed in zip(rows, passes_all(right), strict=True) if not passed}
    assert failed == FAULTY
    wrong = [program_of(row["prompt"], "    pass", row["test"], row["entry_point"]) for row in rows[:50]]
    assert not any(passes_all(wrong))
