"""The Python of the pages under docs runs as it stands there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_docs import PAGES, blocks, reader_folder

RUN_ALL = """
import sys
from pathlib import Path

for file in sys.argv[1:]:
    code = compile(Path(file).read_text(), file, "exec")
    exec(code, {"__name__": "__main__", "run_dir": Path("runs/tracked")})
    print("ran", file)
"""


@pytest.mark.slow
def test_the_python_of_the_pages_runs(tiny_model: Path, tmp_path: Path) -> None:
    reader_folder(tmp_path, tiny_model)
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "model").symlink_to(tiny_model)
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "data" / "train.jsonl")
    (tmp_path / "eval.json").write_text("{}")
    files = []
    for page in PAGES:
        for number, block in enumerate(blocks(page, "python")):
            files.append(f"{page.stem}-{number}.py")
            (tmp_path / files[-1]).write_text(block)
    command = [sys.executable, "-c", RUN_ALL, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nran ") + done.stdout.startswith("ran ") == len(files) >= 12
