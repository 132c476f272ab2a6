from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.cli import main
from tuning.generate_cli import _ids, _prompts


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--prompt --file is required"),
        (["--prompt", "a", "--max-new-tokens", "0"], "at least 1"),
        (["--prompt", "a", "--temperature", "hot"], "expected a number"),
        (["--prompt", "a", "--num-return-sequences", "2"], "need --temperature above 0"),
        (["--prompt", "a", "--wrong"], "unrecognized arguments: --wrong"),
        (["--file", "none.jsonl"], "--file: none.jsonl: there is no such file"),
        (["--file", "none.txt"], "cannot be read as UTF-8 text"),
        (["--prompt", "a", "--output", "none/file"], "there is no folder"),
        (["--prompt", "a"], "there is no such folder, and it is no Hub id"),
    ],
)
def test_bad_words_are_one_message_and_exit_code_1(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "./nothing-here", *words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


def test_a_row_without_a_prompt_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a"}\n{"question": "b"}\n')
    assert main(["generate", "nothing", "--file", str(file)]) == 1
    assert "row 2: expected prompt" in capsys.readouterr().err


def test_tools_that_are_none_are_named_with_their_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "tools": "[1]"}\n')
    assert main(["generate", "nothing", "--file", str(file)]) == 1
    assert f"--file: {file} row 1: column tools: expected a list of objects" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tools_of_a_row_are_told_to_the_model(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    file = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "Which weather?"}], "tools": [{"name": "weather_of"}]}
    file.write_text(f"{json.dumps(row)}\n")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{{ tools | tojson }}: {{ messages[0].content }}"
    (prompt,) = _prompts(None, str(file))
    assert "weather_of" in tokenizer.decode(_ids(prompt, tokenizer, chat=False))


@pytest.mark.slow
def test_a_text_longer_than_the_models_positions_is_refused_by_its_flag(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(tiny_model), "--prompt", "a", "--max-new-tokens", "300"]) == 1
    error = capsys.readouterr().err
    assert "--max-new-tokens: 300 tokens, and the model knows 256 positions; choose at most 255" in error


@pytest.mark.slow
def test_a_prompt_that_is_cut_is_told(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ["--prompt", "The heron waits. " * 90, "--prompt", "a", "--max-new-tokens", "6"]
    assert main(["generate", str(tiny_model), *words]) == 0
    assert caplog.text.count("1 of 2 prompts have more than the 250 tokens") == 1


@pytest.mark.slow
def test_one_prompt_is_answered_as_it_is_generated(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", str(tiny_model), "--prompt", "The heron", "--max-new-tokens", "6"]
    assert main(words) == 0
    streamed = capsys.readouterr().out.rstrip("\n")
    assert main([*words, "--prompt", "another"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["prompt"] == "The heron"
    assert first["texts"][0].strip() == streamed.strip()


@pytest.mark.slow
def test_a_file_of_prompts_becomes_a_file_of_texts(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "one"}, {"messages": [{"role": "user", "content": "two"}]}]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ["--file", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "texts.jsonl"), "--chat"]
    drawn = ["--temperature", "1", "--num-return-sequences", "2", "--max-new-tokens", "4"]
    assert main(["generate", str(tiny_model), *words, *drawn]) == 0
    found = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert [one["prompt"] for one in found] == ["one", rows[1]["messages"]]
    assert [len(one["texts"]) for one in found] == [2, 2]


@pytest.mark.slow
def test_an_adapter_generates_with_the_base_that_it_names(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])).save_pretrained(tmp_path)
    words = ["--prompt", "The heron", "--max-new-tokens", "6"]
    assert main(["generate", str(tiny_model), *words]) == 0
    of_base = capsys.readouterr().out
    assert main(["generate", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out == of_base


def test_an_adapter_whose_base_is_gone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "./gone"}')
    assert main(["generate", str(tmp_path), "--prompt", "a"]) == 1
    assert "pickled weights are not loaded" in capsys.readouterr().err
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    assert main(["generate", str(tmp_path), "--prompt", "a"]) == 1
    assert "the adapter's base is not there: ./gone" in capsys.readouterr().err
