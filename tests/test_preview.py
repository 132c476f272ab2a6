"""`tune preview`: rows as they are trained on, in a terminal and in a file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main

QUESTIONS = (
    ("What is 12 + 30?", "42."),
    ("Which bird waits beside the river?", "The heron."),
    ("How many umbrellas stand in the hall?", "Three green umbrellas."),
    ("What is 12 + 30?", "42."),
    ("Until when does the heron wait?", "Until the evening, beside the river."),
    ("What stands in the hall?", "A lantern, two kettles and three green umbrellas."),
)


def write_rows(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def here(tiny_config_only_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a model and a few rows the current one."""
    shutil.copytree(tiny_config_only_model, tmp_path / "model")
    write_rows(tmp_path, [{"prompt": f"Question: {asked} Answer: ", "completion": said} for asked, said in QUESTIONS])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tmp_path


WORDS = ("model_name_or_path=model", "training_data_path=rows.jsonl", "validation_fraction=0")


def preview(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["preview", *WORDS, "--width", "120", *words]) == 0
    return capsys.readouterr().out


def test_three_rows_are_shown_with_what_is_trained_on_and_the_audit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = preview(capsys)
    assert len(re.findall(r"^rows\.jsonl row \d: \d+ tokens, \d+ supervised$", text, re.MULTILINE)) == 3
    assert len(re.findall(r"^Question: .* Answer: ⟦.*</s>⟧$", text, re.MULTILINE)) == 3
    assert "duplicate_row: 1 (16.67%) of the train rows repeat another" in text
    assert "Rows: rows.jsonl row 4 (as row 1)" in text and "\x1b" not in text


def test_the_seed_chooses_the_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again, other = (preview(capsys, "--rows", "2", f"seed={seed}") for seed in (1, 1, 2))
    assert first == again != other


def test_a_row_is_shown_that_the_audit_names(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = preview(capsys, "--rows", "0", "--row", "5")
    assert "rows.jsonl row 5: " in text and "Until the evening" in text and "row 6:" not in text


def test_colours_are_for_terminals_that_want_them(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[32m" in preview(capsys) and "⟦" not in preview(capsys)
    assert "\x1b" not in preview(capsys, "--no-color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in preview(capsys)


def test_nothing_in_the_rows_moves_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(here, [{"prompt": "\x1b[2J\u202e", "completion": "a\x07b"}])
    text = preview(capsys)
    assert "\\x1b[2J\\u202e" in text and "a\\x07b" in text
    assert not set(text) & {"\x1b", "\u202e", "\x07"}


def test_answers_that_are_cut_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(here, [{"prompt": "a", "completion": "The heron waits. " * 40}])
    assert re.search(
        r"row 1: 20 tokens, 1\d supervised, \d+ more cut off by max_length", preview(capsys, "max_length=20")
    )


def test_a_conversation_is_shown_as_its_template_writes_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
    write_rows(here, [{"messages": said}])
    assert "<|im_start|>assistant\n⟦Because.</s>⟧\n" in preview(capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rows", "many"], "--rows: expected a whole number from 0 to 1000; got 'many'"),
        (["--width", "2"], "--width: expected a whole number from 20 to 10000; got '2'"),
        (["--row", "77"], "--row: no file has a row 77"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["preview", *WORDS, *words]) == 1
    assert capsys.readouterr().err.strip() == told


def test_a_row_that_was_skipped_is_asked_for_with_its_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(here, [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": ""}])
    assert main(["preview", *WORDS, "max_skipped_share=1", "--row", "2"]) == 1
    assert "row 2 was skipped: column completion: is empty" in capsys.readouterr().err


def test_a_row_that_cannot_be_tokenized_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(here, [{"input_ids": [5, 6]}, {"input_ids": [100_000]}])
    assert "rows.jsonl row 2 is left out: column input_ids: 100000 is no id" in preview(capsys, "--rows", "2")


def test_nothing_is_written_and_nothing_dear_imported(here: Path) -> None:
    before = sorted(here.rglob("*"))
    code = (
        "import sys; from tuning.cli import main; code = main(['preview', *sys.argv[1:]]); "
        "print(sorted({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)), code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code, *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
    assert sorted(here.rglob("*")) == before


@pytest.mark.slow
def test_a_tokenizer_that_is_written_in_python_is_loaded_by_transformers(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "model" / "tokenizer.json").unlink()
    (here / "model" / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    assert "Answer: ⟦42.</s>⟧\n" in preview(capsys)


def test_the_example_of_the_page_is_what_is_printed(
    here: Path, capsys: pytest.CaptureFixture[str], project_root: Path
) -> None:
    page = (project_root / "docs" / "audit.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0]
    assert preview(capsys) == shown


def test_help_says_what_the_flags_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "--help"]) == 0
    assert "--no-color" in capsys.readouterr().out
