from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tuning.config.ir import IR
from tuning.interruption import SIGNALS
from tuning.launch.settings import launcher_words

RANK = """
import os, time
from pathlib import Path
Path(f"here-{os.environ['RANK']}").touch()
while not Path("go").exists():
    time.sleep(0.02)
"""


@pytest.mark.slow
def test_a_request_to_stop_is_left_to_the_processes_of_the_run(tmp_path: Path, project_root: Path) -> None:
    (tmp_path / "rank.py").write_text(RANK)
    document = IR.of({"compute": {"num_processes": 2}, "accelerate": {"use_cpu": True}}, "argument")
    command = [*launcher_words(document, tmp_path), str(tmp_path / "rank.py")]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    launcher = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while len(list(tmp_path.glob("here-*"))) < 2:
        assert launcher.poll() is None
        time.sleep(0.02)
    for signum in SIGNALS:
        launcher.send_signal(signum)
    (tmp_path / "go").touch()
    assert launcher.wait(60) == 0
