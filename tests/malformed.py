"""Malformed input: how a case of it is written, and a process that gives all cases to one command and looks on."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = """
import contextlib, importlib, io, json, os, resource, signal, sys, time, traceback
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
module, _, name = sys.argv[1].partition(":")
command = getattr(importlib.import_module(module), name)


def end(number, frame):
    raise SystemExit("it takes too long")


def tree():
    found = [os.path.join(at, each) for at, folders, files in os.walk(".") for each in (*folders, *files)]
    return {each: (os.lstat(each).st_size, os.lstat(each).st_mtime_ns) for each in found}


for case in json.load(open("cases.json")):
    os.chdir(case["folder"])
    os.environ.update(case["environment"])
    sys.path.insert(0, os.path.abspath("packages"))
    sys.dont_write_bytecode = True
    before, out, err, began = tree(), io.StringIO(), io.StringIO(), time.process_time()
    signal.signal(signal.SIGALRM, end)
    signal.alarm(300)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command(case["words"])
        except BaseException:
            code = traceback.format_exc()
    signal.alarm(0)
    seconds, after = time.process_time() - began, tree()
    heavy = sorted({"torch", "transformers", "datasets", "trl", "peft"} & set(sys.modules))
    written = sorted(each for each in before.keys() | after.keys() if before.get(each) != after.get(each))
    told = {"code": code, "out": out.getvalue(), "err": err.getvalue(), "cpu_seconds": seconds}
    print(json.dumps({"name": case["name"], **told, "written": written, "heavy": heavy}), flush=True)
    sys.path[:] = [path for path in sys.path if not path.startswith(case["folder"])]
    own = [name for name, module in sys.modules.items() if case["folder"] in str(getattr(module, "__file__", ""))]
    for name in own:
        del sys.modules[name]
    for variable in case["environment"]:
        del os.environ[variable]
"""
ROW = '{"prompt": "a", "completion": "b"}\n'


class Case(NamedTuple):
    """One input: a part of the one message, the command's words, what is changed in the folder, and in the shell."""

    told: str
    words: tuple[str, ...] = ("run.json",)
    change: Callable[[Path], Any] = lambda folder: None
    environment: Mapping[str, str] = {}
    told_while_loading: bool = False
    """Only loading the model tells, which comes once the run folder is there."""


class Outcome(NamedTuple):
    """What a command did; `code` is a traceback where it let an exception out."""

    code: int | str
    out: str
    err: str
    cpu_seconds: float
    written: list[str]
    """Files and folders that came, went or changed."""
    heavy: list[str]
    """Dear packages that have been imported up to then."""


def outcomes(cases: Mapping[str, Case], command: str, model: Path, work: Path, *more: str) -> dict[str, Outcome]:
    """Give each case to a command (`module:function`), one after another in one process; `more` follows the words.

    Where there is a folder `run` beside the model, each case gets a copy of it.
    """
    asked = []
    for number, (name, case) in enumerate(cases.items()):
        folder = folder_of(case, work / str(number), model)
        asked.append({"name": name, "folder": str(folder), "words": [*case.words, *more], **_shell(case, folder)})
    (work / "cases.json").write_text(json.dumps(asked))
    program = [sys.executable, "-c", PROGRAM, command]
    ran = subprocess.run(program, cwd=work, capture_output=True, text=True, timeout=1200, check=False)
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"name": ')]
    assert len(found) == len(cases), f"ended with {ran.returncode}: {ran.stdout[-500:]} {ran.stderr[-3000:]}"
    return {each.pop("name"): Outcome(**each) for each in found}


def folder_of(case: Case, folder: Path, model: Path) -> Path:
    """Make a folder with a good configuration, model and rows, and change in it what the case changes."""
    (folder / "model" / "inner").mkdir(parents=True)
    for file in model.iterdir():
        shutil.copyfile(file, folder / "model" / file.name)
    if (model.parent / "run").is_dir():
        shutil.copytree(model.parent / "run", folder / "run")
    (folder / "rows.jsonl").write_text(ROW * 20)
    has_weights = (model / "model.safetensors").exists()
    good = {"model_name_or_path": "model", "training_data_path": "rows.jsonl", "train_from_scratch": not has_weights}
    (folder / "run.json").write_text(json.dumps({**good, "output_dir": "run"}))
    case.change(folder)
    return folder


def _shell(case: Case, folder: Path) -> dict[str, Any]:
    return {"environment": {name: value.format(folder=folder) for name, value in case.environment.items()}}


def config(text: str | bytes, name: str = "bad.json") -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a configuration file of the given text, beside the good one, and name it alone."""
    content = text if isinstance(text, bytes) else text.encode()
    return (name,), lambda folder: (folder / name).write_bytes(content)


def field(**values: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a configuration file that is good but for some fields."""

    def write(folder: Path) -> None:
        good = json.loads((folder / "run.json").read_text())
        (folder / "bad.json").write_text(json.dumps({**good, **values}))

    return ("bad.json",), write


def words(*more: str) -> tuple[tuple[str, ...]]:
    """Take the good file, with more words after it."""
    return (("run.json", *more),)


def beside(name: str, content: str | bytes, *more: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Take the good file with more words after it, and make a file of the given content beside it."""
    data = content if isinstance(content, bytes) else content.encode()

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return ("run.json", *more), write


def model(name: str, content: str | bytes, *more: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Replace one file of the model."""
    return beside(f"model/{name}", content, *more)


def shape(**sizes: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Change the model's `config.json`."""

    def write(folder: Path) -> None:
        file = folder / "model" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **sizes}))

    return ("run.json",), write


def rows(content: str | bytes, name: str = "rows.jsonl", *more: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Replace the rows."""
    return beside(name, content, f"training_data_path={name}", *more)


def looped(folder: Path) -> None:
    """Make two links that lead to each other."""
    (folder / "loop.json").symlink_to(folder / "other.json")
    (folder / "other.json").symlink_to(folder / "loop.json")


def weights(header: bytes, length: int | None = None) -> bytes:
    """Write the start of a safetensors file."""
    return struct.pack("<Q", len(header) if length is None else length) + header
