"""Rows become the same tokens in a plan and a preview as in training."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import document

from tuning.config.building import build_config
from tuning.data.rows import load_rows
from tuning.recommender.encoding import encoding_of

QWEN_LIKE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tokens(encoding: Any, rows: Iterable[dict[str, Any]]) -> list[Any]:
    return list(encoding.token_rows(rows))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["chat_messages.jsonl", "code_prompt_completion.jsonl", "text_wikipedia.jsonl"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__chat_template": QWEN_LIKE, "model__add_special_tokens": ["<|im_start|>", "<|im_end|>"]},
        {"training__eos_token": "<unk>", "training__max_length": 100},
        {"training__packing": True, "training__packing_strategy": "wrapped", "training__max_length": 50},
        {"training__completion_only_loss": False, "training__assistant_only_loss": False},
    ],
)
def test_rows_become_the_same_tokens_as_in_training(
    tiny_config_only_model: Path, shared_data: Path, file: str, changes: dict[str, Any]
) -> None:
    from tuning.preparation import encodings_of
    from tuning.tokenizer import load_tokenizer

    values = {"model__model_name_or_path": str(tiny_config_only_model), "training__output_dir": "run", **changes}
    ir = document(**values, data__training_data_path=[str(shared_data / file)])
    config = build_config(ir)
    rows = [row.values for row in load_rows(config.data, 0).train[:100]]
    here, there = encoding_of(ir), encodings_of(config, load_tokenizer(config)[0]).train
    assert here is not None and tokens(here, rows) == tokens(there, rows)


def test_a_tokenizer_without_its_file_or_an_end_token_tells_nothing(
    tiny_config_only_model: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_config_only_model / "tokenizer.json", tmp_path)
    assert encoding_of(document(model__model_name_or_path=str(tmp_path))) is None
    assert encoding_of(document(model__model_name_or_path=str(tmp_path / "missing"))) is None
    with_end = encoding_of(document(model__model_name_or_path=str(tmp_path), training__eos_token="</s>"))
    assert with_end is not None and with_end.special_tokens == {"eos_token": "</s>"}


def test_a_template_that_trl_has_a_marked_copy_of_is_taken_with_its_marks(tiny_config_only_model: Path) -> None:
    from importlib.util import find_spec

    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    original, marked = ((folder / name).read_text("utf-8") for name in ("qwen3.jinja", "qwen3_training.jinja"))
    values = {"model__model_name_or_path": str(tiny_config_only_model), "model__chat_template": original}
    with_marks, without = (
        encoding_of(document(**values, training__assistant_only_loss=wanted)) for wanted in (None, False)
    )
    assert with_marks is not None and with_marks.chat_template == marked
    assert without is not None and without.chat_template == original
