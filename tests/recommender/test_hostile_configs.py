"""Malformed input to the recommender's command: one clear message and nothing written, or a completion; no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_cases import ALL, COMPLETED, ROW

SECONDS = 20.0
"""No case may take longer; most take a tenth of a second, and the machine may be busy."""

PROGRAM = """
import contextlib, io, json, os, sys, time
from tuning.recommender.cli import main
outcomes = {}
for name, folder, words in json.load(open("cases.json")):
    os.chdir(folder)
    out, err, began = io.StringIO(), io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    outcomes[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "seconds": time.monotonic() - began}
heavy = {"torch", "transformers", "datasets", "trl", "peft"} & set(sys.modules)
print(json.dumps({"outcomes": outcomes, "heavy": sorted(heavy)}))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def done(tiny_config_only_model: Path, work: Path) -> dict[str, Any]:
    """Run the command on every case, one after another in one process without a way to the network."""
    asked = []
    for number, (name, case) in enumerate(ALL.items()):
        folder = work / str(number)
        (folder / "model" / "inner").mkdir(parents=True)
        for file in tiny_config_only_model.iterdir():
            (folder / "model" / file.name).write_bytes(file.read_bytes())
        (folder / "rows.jsonl").write_text(ROW * 20)
        good = {"model_name_or_path": "model", "training_data_path": "rows.jsonl", "train_from_scratch": True}
        (folder / "run.json").write_text(json.dumps({**good, "output_dir": "run"}))
        case.change(folder)
        asked.append((name, str(folder), [*case.words, "--output-dir", "completed"]))
    (work / "cases.json").write_text(json.dumps(asked))
    ran = subprocess.run([sys.executable, "-c", PROGRAM], cwd=work, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ALL)
def test_malformed_input_is_refused_with_one_message_or_completed(name: str, done: dict[str, Any], work: Path) -> None:
    outcome, told, folder = done["outcomes"][name], ALL[name].told, work / str(list(ALL).index(name))
    assert "Traceback" not in outcome["err"]
    if told == COMPLETED:
        assert outcome["code"] == 0, outcome["err"]
        json.loads((folder / "completed" / "config.json").read_text())
    else:
        assert (outcome["code"], outcome["out"]) == (1, "")
        assert told in outcome["err"]
        assert not (folder / "completed").exists()
    assert len(outcome["err"]) < 2000
    assert outcome["seconds"] < SECONDS
    assert not list(folder.rglob("pwned*"))


def test_torch_is_imported_for_none_of_it(done: dict[str, Any]) -> None:
    assert done["heavy"] == []
