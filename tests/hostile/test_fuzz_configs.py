"""Any document is refused as the user's input, or is a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from malformed import ROW
from mutations import DOCUMENTS, WORDS, damaged

from tuning.config.control_fields import TrainerControl
from tuning.config.shipped import named_configs
from tuning.control.expressions import ExpressionError, parse_tree
from tuning.errors import UserError
from tuning.job import check, load_config

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
SHIPPED = [config.path.read_bytes() for config in named_configs()]


@pytest.fixture(scope="module")
def folder(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "model").symlink_to(tiny_config_only_model)
    (folder / "rows.jsonl").write_text(ROW * 9)
    return folder


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def is_told(*words: str) -> bool:
    """Tell whether a command line is refused with a message, or is a run that could start."""
    try:
        check(load_config(words).config)
    except UserError as error:
        return 0 < len(str(error)) < 50_000
    return True


def good(folder: Path) -> dict[str, Any]:
    model = {"model_name_or_path": "model", "train_from_scratch": True}
    return {**model, "training_data_path": "rows.jsonl", "output_dir": str(folder / "run")}


@pytest.mark.slow
@given(document=DOCUMENTS, is_whole=st.booleans(), as_yaml=st.booleans())
@FUZZ
def test_any_values_under_real_keys(folder: Path, document: dict[str, Any], is_whole: bool, as_yaml: bool) -> None:
    document = {**(good(folder) if is_whole else {}), **document}
    file = folder / ("fuzz.yaml" if as_yaml else "fuzz.json")
    text = yaml.safe_dump(document) if as_yaml else json.dumps(document)
    file.write_text(text, encoding="utf-8", errors="replace")
    assert is_told(str(file))


@pytest.mark.slow
@given(content=st.sampled_from(SHIPPED).flatmap(damaged), ending=st.sampled_from((".yaml", ".json")))
@FUZZ
def test_a_damaged_file(folder: Path, content: bytes, ending: str) -> None:
    (folder / f"damaged{ending}").write_bytes(content)
    assert is_told(f"damaged{ending}")


@pytest.mark.slow
@given(words=st.lists(st.sampled_from((*WORDS, "--", "--config", "=", "~r")) | st.text(max_size=12), max_size=6))
@FUZZ
def test_any_command_line(words: list[str]) -> None:
    assert is_told(*words)


@given(text=st.text(max_size=60))
@FUZZ
def test_any_text_for_a_condition(text: str) -> None:
    try:
        parse_tree(text)
    except ExpressionError as error:
        assert str(error)


def test_what_is_fuzzed_is_what_there_is() -> None:
    assert len(SHIPPED) > 5 and TrainerControl.model_fields
