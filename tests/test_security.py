"""What may never stand in the package's source, and who may read and write what a run leaves behind."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "tuning").rglob("*.py"))

ALLOWED = {
    ("tuning/evaluation/locked_process.py", "exec"): 1,
    ("tuning/evaluation/locked_process.py", "compile"): 1,
    ("tuning/recommender/custom_rules.py", "exec"): 1,
    ("tuning/recommender/custom_rules.py", "compile"): 1,
    ("tuning/sharding/parts.py", "import of pickle"): 1,
    ("tuning/sharding/parts.py", "pickle"): 1,
    ("tuning/sharding/trainer.py", "torch.load"): 2,
}
"""File and what stands in it -> how often. SECURITY.md says why."""

UNSAFE_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
UNSAFE_MODULES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"})
UNSAFE_FUNCTIONS = frozenset({"torch.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"})
SAFE_LOADERS = frozenset({"yaml.SafeLoader", "SafeLoader", "yaml.CSafeLoader"})


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Yield what runs code that input could bring: names of calls, of modules, and dangerous arguments."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"import of {name}" for name in modules if name.partition(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node)


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in UNSAFE_CALLS or name in UNSAFE_FUNCTIONS:
        yield name
    elif name.partition(".")[0] in UNSAFE_MODULES:
        yield name.partition(".")[0]
    elif name in ("yaml.load", "yaml.load_all"):
        loader = arguments.get("Loader") or (ast.unparse(node.args[1]) if len(node.args) > 1 else "")
        yield from [] if loader in SAFE_LOADERS else [name]
    if arguments.get("shell", "False") != "False":
        yield "shell=True"
    if arguments.get("weights_only") == "False" or arguments.get("allow_pickle") == "True":
        yield "weights_only=False" if "weights_only" in arguments else "allow_pickle=True"
    if arguments.get("trust_remote_code") == "True":
        yield "trust_remote_code=True"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["import of pickle"]),
        ("from dill import loads", ["import of dill"]),
        ("pickle.loads(b)", ["pickle"]),
        ("torch.load(f)", ["torch.load"]),
        ("torch.load(f, weights_only=False)", ["torch.load", "weights_only=False"]),
        ("eval('1')", ["eval"]),
        ("exec(text, {})", ["exec"]),
        ("yaml.load(text)", ["yaml.load"]),
        ("yaml.load(text, Loader=yaml.Loader)", ["yaml.load"]),
        ("yaml.load(text, yaml.SafeLoader)", []),
        ("subprocess.run(text, shell=True)", ["shell=True"]),
        ("numpy.load(f, allow_pickle=True)", ["allow_pickle=True"]),
        ("AutoModel.from_pretrained(n, trust_remote_code=True)", ["trust_remote_code=True"]),
        ("model.eval(); ast.literal_eval(text); re.compile(text)", []),
    ],
)
def test_what_is_unsafe_is_found(source: str, found: list[str]) -> None:
    assert list(unsafe(ast.parse(source))) == found


def test_no_module_runs_what_input_brings_but_for_those_that_say_so() -> None:
    counted: Counter[tuple[str, str]] = Counter()
    for path in MODULES:
        name = path.relative_to(ROOT).as_posix()
        counted.update((name, what) for what in unsafe(ast.parse(path.read_text(encoding="utf-8"))))
    assert counted == ALLOWED


def test_the_page_on_security_gives_a_reason_for_each_module_that_does() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert [name for name, _ in ALLOWED if f"`{name}`" not in page] == []


def test_remote_code_and_code_of_answers_are_off_unless_they_are_asked_for() -> None:
    from tuning.config.schema import TuningConfig

    config = TuningConfig()
    assert (config.model.trust_remote_code, config.evaluation.allow_code_execution) == (False, False)
    assert config.recommender.rules_dir is None


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the command as a user does whose files others may read, and whose group may write them."""
    folder = tmp_path_factory.mktemp("permissions")
    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(8)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    settings = {"model_name_or_path": str(tiny_model), "training_data_path": "rows.jsonl", "output_dir": "run"}
    settings |= {
        "max_steps": 2,
        "save_steps": 1,
        "validation_fraction": 0.25,
        "use_cpu": True,
        "hub_token": "hf_" + "a" * 34,
    }
    (folder / "run.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "tuning.sft_trainer", "run.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_TOKEN": "hf_" + "b" * 34, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False, umask=0o002
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "run"


@pytest.mark.slow
def test_nobody_else_may_write_what_a_run_leaves_behind_and_nothing_of_it_is_a_program(finished: Path) -> None:
    files = [path for path in finished.rglob("*") if not path.is_symlink()]
    assert len(files) > 20
    assert [path for path in [finished, *files] if path.stat().st_mode & stat.S_IWOTH] == []
    assert [path for path in files if path.is_file() and path.stat().st_mode & 0o7111] == []


@pytest.mark.slow
def test_no_file_of_a_run_is_a_pickle_of_arguments_or_holds_a_token(finished: Path) -> None:
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert [path for path in files if path.name == "training_args.bin"] == []
    tokens = (b"hf_" + b"a" * 34, b"hf_" + b"b" * 34)
    assert [path for path in files if any(token in path.read_bytes() for token in tokens)] == []
