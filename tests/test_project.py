"""The rules of the project itself: layers, sizes, extras, decision records, packaging."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "tuning").rglob("*.py"))
ADRS = sorted((ROOT / "docs" / "adrs").glob("*.md"))

LONGEST_MODULE = 350
LONGEST_FUNCTION = 50

FOUNDATION = {"causal_lm", "errors", "registry", "config", "whole_files", "score_names"}
FOUNDATION |= {"full_disk", "termination_log", "weight_files"}
PARTS = {"trackers", "acceleration", "data", "evaluation", "export", "arguments"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "causal_lm": set(),
    "whole_files": set(),
    "score_names": set(),
    "full_disk": {"errors"},
    "termination_log": set(),
    "weight_files": set(),
    "registry": {"errors"},
    "config": {"errors", "registry"},
    **{part: FOUNDATION for part in PARTS},
    # Both load weights in 4 bits, and bitsandbytes needs the same care from both.
    "acceleration": FOUNDATION | {"quantization"},
    # What is generated is compared with rows, and made from their tokens; no row is read in a way of its own.
    "evaluation": FOUNDATION | {"data", "sharding"},
    # It loads what was saved, and takes prompts from the rows that the run held out.
    "export": FOUNDATION
    | {"console", "data", "manifest", "model", "preparation", "recommender", "saved_model", "tokenizer", "trackers"}
    # An export that is stopped leaves nothing behind.
    | {"interruption", "plain_adapters", "sharding"},
    # Facts and training read rows through one reader; the reader imports no torch, which another test asserts.
    "recommender": FOUNDATION | {"data", "acceleration"},
    # A rule that acts is recorded.
    "control": FOUNDATION | {"trackers"},
    "left_out": set(),
    "world": FOUNDATION,
    "wrapper": FOUNDATION | {"world"},
    "processes": FOUNDATION | {"world"},
    "sharding": FOUNDATION | {"checkpoints", "processes"},
    "tokenizer": FOUNDATION | {"data"},
    "quantization": FOUNDATION,
    "architecture_check": FOUNDATION,
    "plain_adapters": FOUNDATION,
    "model": FOUNDATION | {"acceleration", "data", "tokenizer", "quantization"},
    "preparation": FOUNDATION | {"data", "tokenizer", "model", "world"},
    # What a checkpoint takes on the disk follows from the facts of the model.
    "checkpoints": FOUNDATION | {"recommender"},
    "baseline_callback": set(),
    "measurement": FOUNDATION | {"data", "evaluation", "trackers", "baseline_callback", "processes"},
    # Adapters are loaded on the base that they were trained on, which a plugin may have quantized.
    "saved_model": FOUNDATION | {"acceleration", "manifest", "model", "tokenizer"},
    "evaluate_cli": {"job"}
    | FOUNDATION
    | {"data", "evaluation", "trackers", "measurement", "saved_model", "sft_trainer", "tokenizer", "model"}
    | {"preparation", "arguments", "console", "recommender"},
    "generate_cli": FOUNDATION | {"data", "evaluation", "saved_model", "tokenizer", "model", "console", "recommender"},
    "interruption": {"errors", "termination_log"},
    "stop_callback": {"errors", "interruption"},
    "fingerprints": FOUNDATION | {"data"},
    "row_digests": {"errors", "data"},
    "manifest": FOUNDATION | {"fingerprints", "row_digests", "trackers"},
    "manifest_differences": FOUNDATION | {"fingerprints", "row_digests", "trackers"},
    "reproduce": FOUNDATION | {"manifest", "manifest_differences"},
    "report": FOUNDATION | {"trackers"},
    "console": FOUNDATION | {"data", "recommender", "trackers", "world"},
    "run": FOUNDATION | {"checkpoints", "fingerprints", "manifest", "recommender", "report", "trackers", "world"},
    "job": FOUNDATION
    | {"acceleration", "console", "control", "data", "evaluation", "export", "model", "quantization", "recommender"}
    | {"checkpoints", "trackers"},
    "ending": FOUNDATION | {"console", "interruption", "run"},
    "sft_trainer": FOUNDATION
    | PARTS
    | {"ending", "job", "architecture_check", "processes", "wrapper"}
    | {"recommender", "world", "tokenizer", "quantization", "model", "preparation", "measurement", "console", "run"}
    | {"checkpoints", "control", "interruption", "left_out", "plain_adapters", "stop_callback"},
    "preview": FOUNDATION | {"data", "recommender", "tokenizer", "preparation"},
    "preprocessing": FOUNDATION | {"console", "data", "interruption", "job", "preparation", "sft_trainer"},
    "doctor": FOUNDATION
    | {"arguments", "console", "data", "evaluation", "job", "model", "preparation", "recommender", "run"}
    | {"tokenizer"},
    "recipes": FOUNDATION | {"job", "sft_trainer"},
    "model_recipes": FOUNDATION | {"recipes", "evaluate_cli", "generate_cli"},
    "launch": FOUNDATION
    | {"ending", "checkpoints", "console", "interruption", "job", "manifest", "recipes", "recommender", "sft_trainer"}
    | {"world"},
    "recipes_cli": FOUNDATION | {"ending", "job", "launch", "recipes", "recommender", "sft_trainer"},
    "schema_cli": FOUNDATION | {"recommender"},
    "completion": FOUNDATION | {"cli", "launch", "recipes"},
    # It names the functions of its commands by text, and imports the one that is asked for.
    "cli": FOUNDATION | {"ending", "interruption", "recipes_cli"},
}
"""Part of the package -> the other parts that it may import, wherever in the file the import stands."""

REGISTRY_HOSTS = [".".join(name) for name in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"))]
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:" + "|".join(["work", "root", "home", r"tmp/\w", "opt"]) + r")(?:/\w|\b/)")

WITHOUT_EXTRAS = """
import sys
WITHOUT = {"aim", "wandb", "mlflow", "tensorboard", "trackio", "bitsandbytes", "fastapi", "uvicorn", "gguf"}
WITHOUT |= {"onnx", "onnxruntime", "onnxscript", "tensorflow"}
WITHOUT |= {"lm_eval", "rouge_score", "sacrebleu", "sklearn"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in WITHOUT:
            return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
"""Makes Python look as if no extra were installed, to `import` and to `importlib.util.find_spec` alike."""


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "tuning").parts[0].removesuffix(".py")


def imported_parts(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a module imports when it runs, at its top or inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_annotations = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - for_annotations:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("tuning.") and name.count("."))


def imported_packages(path: Path) -> Iterator[str]:
    """Yield the packages from outside that a module imports, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "tuning"}


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_imports_only_the_parts_below_its_own(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        assert not set(imported_parts(path)), "the package itself names its public objects lazily"
        return
    assert part in MAY_IMPORT, f"give '{part}' a row in MAY_IMPORT"
    forbidden = set(imported_parts(path)) - MAY_IMPORT[part] - {part, "__version__"}
    assert not forbidden, f"{part} must not import {sorted(forbidden)}"


def test_no_module_is_too_long_to_read_at_once() -> None:
    lengths = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_function_is_too_long_to_read_at_once() -> None:
    too_long = [
        f"{module_name(path)}.{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert too_long == []


def test_no_module_is_named_after_nothing() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager)(_|$)")
    assert [module_name(path) for path in MODULES if vague.search(path.stem)] == []


def test_configuring_and_recommending_import_neither_torch_nor_transformers(tmp_path: Path) -> None:
    light = [module_name(path) for path in MODULES if part_of(path) in {"__init__", "recommender", *FOUNDATION}]
    result = run_python(
        f"import sys, importlib\nfor name in {light!r}: importlib.import_module(name)\n"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules)))",
        tmp_path,
    )
    assert result.stdout.strip() == "[]", result.stderr


def test_help_needs_no_extra(tmp_path: Path) -> None:
    result = run_python(WITHOUT_EXTRAS + "from tuning.sft_trainer import main\nsys.exit(main(['--help']))", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "learning_rate" in result.stdout


@pytest.mark.slow
def test_every_module_can_be_imported_without_any_extra(tmp_path: Path) -> None:
    names = [module_name(path) for path in MODULES if path.stem != "__main__"]
    code = WITHOUT_EXTRAS + f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_every_package_that_is_imported_is_declared() -> None:
    """A package that only comes along with another one goes away with it."""
    project = pyproject()["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    known = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in declared}
    distributions = importlib.metadata.packages_distributions()
    imported = {name for path in MODULES for name in imported_packages(path)}
    lacking = {name for name in imported if name in distributions and not known & _names(distributions[name])}
    assert lacking == set()


def _names(distributions: list[str]) -> set[str]:
    return {name.lower().replace("_", "-") for name in distributions}


def test_every_extra_that_an_error_names_exists() -> None:
    known = set(pyproject()["project"]["optional-dependencies"])
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtraError"):
                extras = [*node.args[2:], *(keyword.value for keyword in node.keywords if keyword.arg == "extra")]
                literal = [extra.value for extra in extras if isinstance(extra, ast.Constant)]
                assert set(literal) <= known, f"{module_name(path)}:{node.lineno} names {literal}"


def test_every_extra_that_a_text_names_exists() -> None:
    known = set(pyproject()["project"]["optional-dependencies"])
    named = {
        (name, extra)
        for name, text in tracked_texts()
        if not name.startswith("tests/")
        for extras in re.findall(r"\btuning\[([a-z,]+)\]", text)
        for extra in extras.split(",")
    }
    assert {(name, extra) for name, extra in named if extra not in known} == set()
    assert "aim" in {extra for _, extra in named}


def test_the_installed_torch_satisfies_the_range_that_is_asked_for() -> None:
    from importlib.metadata import version

    from packaging.requirements import Requirement

    asked = {(found := Requirement(text)).name: found.specifier for text in pyproject()["project"]["dependencies"]}
    assert asked["torch"].contains(version("torch").partition("+")[0])


def test_no_file_names_a_package_registry() -> None:
    found = [(name, host) for name, text in tracked_texts() for host in REGISTRY_HOSTS if host in text]
    assert found == []


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [(name, match[0]) for name, text in tracked_texts() for match in MACHINE_PATH.finditer(text)]
    assert found == []


def test_there_is_a_record_for_each_design_decision() -> None:
    assert [path.name[:4] for path in ADRS] == [f"{number:04d}" for number in range(len(ADRS))]
    assert len(ADRS) >= 7


@pytest.mark.parametrize("path", ADRS, ids=lambda path: path.stem)
def test_a_decision_record_has_the_headings_of_the_template(path: Path) -> None:
    template = ADRS[0].read_text(encoding="utf-8")
    shape = re.compile(r"^(#{2,3} .+|\*\*.+?\*\*:)", re.MULTILINE)
    assert shape.findall(path.read_text(encoding="utf-8")) == shape.findall(template)


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_configuration_page_names_every_alias_and_retired_name() -> None:
    from tuning.config.names import ALIASES, RETIRED

    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(ALIASES) | set(RETIRED) <= set(listed)


def test_ci_script_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"tuning"}
    assert {module_name(path).replace(".", "/") for path in MODULES} == {
        name.removesuffix(".py").removesuffix("/__init__") for name in names if name.endswith(".py")
    }


@pytest.mark.slow
def test_the_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    python = installed_alone(wheel, tmp_path / "venv")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in ([python, "-m", "tuning.sft_trainer"], [python.with_name("tune")]):
        result = subprocess.run([*command, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    where = subprocess.run(
        [python, "-c", "import tuning; print(tuning.__file__)"], cwd=tmp_path, env=environment, stdout=-1
    )
    assert Path(where.stdout.decode().strip()).is_relative_to(tmp_path / "venv")


def installed_alone(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment that borrows only the dependencies of this one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A plain line of a .pth file adds a folder to sys.path without reading that folder's own .pth files, so an
    # editable installation of this checkout stays out of sight.
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_make_says_what_it_can_do() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"make {target} " in shown for target in ("quickstart", "test", "test-fast", "check", "format", "clean"))
