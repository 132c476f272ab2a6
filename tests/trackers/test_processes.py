from __future__ import annotations

import os
import subprocess
import sys

from tuning.trackers.processes import is_alive, started_at


def test_this_process_is_alive_and_the_same() -> None:
    assert is_alive(os.getpid(), started_at(os.getpid()))


def test_a_process_with_another_start_is_another_process() -> None:
    assert not is_alive(os.getpid(), "long ago")


def test_a_dead_process_is_dead_before_and_after_its_parent_looks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = started_at(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert mark is not None and not is_alive(child.pid, mark)
    child.communicate()
    assert not is_alive(child.pid, mark)
