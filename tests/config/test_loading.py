from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tuning.config.loading import CONFIG_PATH_VARIABLE, CONFIG_TEXT_VARIABLE, load_ir, load_mapping
from tuning.errors import ConfigError


def values(*argv: str) -> dict[str, Any]:
    loaded = load_ir(argv, environ={})
    assert loaded.problems == []
    return dict(loaded.ir.values)


def problem(*argv: str, environ: dict[str, str] | None = None) -> str:
    try:
        return "\n".join(str(found) for found in load_ir(argv, environ=environ or {}).problems)
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["learning_rate=2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["training.learning_rate=2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["--learning_rate", "2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["--learning-rate", "2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["--learning_rate=2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["--training.learning_rate", "2e-5"], {"training": {"learning_rate": 2e-5}}),
        (["--override", "seed=1", "r=8"], {"training": {"seed": 1}, "peft": {"r": 8}}),
        (["--packing"], {"training": {"packing": True}}),
        (["--packing", "seed=1"], {"training": {"packing": True, "seed": 1}}),
        (["--packing", "False", "--seed", "1"], {"training": {"packing": False, "seed": 1}}),
        (["--target_modules", "q_proj", "v_proj"], {"peft": {"target_modules": ["q_proj", "v_proj"]}}),
        (['target_modules=["q_proj"]'], {"peft": {"target_modules": ["q_proj"]}}),
        (["target_modules=all-linear"], {"peft": {"target_modules": "all-linear"}}),
        (["response_template=a=b=c"], {"data": {"response_template": "a=b=c"}}),
        (["--response_template", "seed=b"], {"data": {"response_template": "seed=b"}}),
        (["run_name=2024"], {"tracking": {"run_name": "2024"}}),
        (["run_name=1e3"], {"tracking": {"run_name": "1e3"}}),
        (["lr_scheduler_kwargs.num_cycles=2"], {"training": {"lr_scheduler_kwargs": {"num_cycles": 2}}}),
        (['lr_scheduler_kwargs={"num_cycles": 2}'], {"training": {"lr_scheduler_kwargs": {"num_cycles": 2}}}),
        (["metadata.owner=me"], {"metadata": {"owner": "me"}}),
        (['exp_metadata={"a": {"b": 1}}'], {"metadata": {"a": {"b": 1}}}),
        (["max_seq_length=512"], {"training": {"max_length": 512}}),
        (["warmup_ratio=0.1"], {"training": {"warmup_steps": 0.1}}),
        (["torch_dtype=float32"], {"model": {"dtype": "float32"}}),
        (["group_by_length=true"], {"training": {"train_sampling_strategy": "group_by_length"}}),
        (["peft_method=none"], {"peft": {"peft_method": "none"}}),
        (["seed=1", "seed=2"], {"training": {"seed": 2}}),
        (["seed=1", "seed=null"], {}),
    ],
)
def test_overrides_are_read(words: list[str], expected: dict[str, Any]) -> None:
    assert values(*words) == expected


def test_a_flat_file_and_one_in_sections_are_the_same_document(tmp_path: Path) -> None:
    (tmp_path / "flat.json").write_text('{"learning_rate": 1e-4, "r": 8}')
    (tmp_path / "nested.yaml").write_text("training:\n  learning_rate: 1e-4\npeft: {r: 8}\n")
    assert values(str(tmp_path / "flat.json")) == values("--config", str(tmp_path / "nested.yaml"))


def test_the_command_line_wins_over_the_file_and_each_leaf_tells_its_source(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"learning_rate": 1e-4, "seed": 3}')
    ir = load_ir([str(file), "seed=5"], environ={}).ir
    assert ir.values == {"training": {"learning_rate": 1e-4, "seed": 5}}
    assert ir.sources == {"training.learning_rate": f"file {file}", "training.seed": "command line"}


def test_null_on_the_command_line_makes_a_value_of_the_file_undecided_again(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"learning_rate": 1e-4, "seed": 3}')
    assert values(str(file), "learning_rate=null") == {"training": {"seed": 3}}


def test_the_file_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"seed": 3}')
    loaded = load_ir([], environ={CONFIG_PATH_VARIABLE: str(file)})
    assert loaded.ir.sources == {"training.seed": f"environment {CONFIG_PATH_VARIABLE}"}


def test_the_document_itself_may_come_from_the_environment_as_base64() -> None:
    encoded = base64.b64encode(b'{"seed": 3}').decode()
    assert load_ir([], environ={CONFIG_TEXT_VARIABLE: encoded}).ir.get("training.seed") == 3


def test_a_pickle_in_the_environment_is_refused_and_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    encoded = base64.b64encode(pickle.dumps(Touch())).decode()
    assert "base64 of a JSON document" in problem(environ={CONFIG_TEXT_VARIABLE: encoded})
    assert not canary.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"seed": 1, "seed": 2}', "the key stands twice"),
        ('{"learning_rate": NaN}', "give a finite one"),
        ('{"learning_rate": -Infinity}', "give a finite one"),
        ('{"lr_scheduler_kwargs": {"a": 1e999}}', "give a finite one"),
        ('{"max_length": 5, "max_seq_length": 6}', "already given as 'max_length'"),
        ('{"seed": 1', "cannot be read"),
        ("[1]", "expected an object"),
        ("[" * 100_000, "cannot be read"),
        ('{"leraning_rate": 1}', "Did you mean 'learning_rate'"),
        ('{"peft": {"learning_rate": 1}}', "It belongs to another section"),
        ('{"peft": {"learning_rat": 1}}', "there is no such field"),
    ],
)
def test_faulty_json_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    assert told in problem(str(file))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 1\nseed: 2\n", "line 2"),
        ("learning_rate: .inf\n", "not finite"),
        ("lr_scheduler_kwargs: {a: 1e999}\n", "not finite"),
        *((f"seed: {value}\n", "a tag does not fit its value") for value in ("!!int ''", "!!bool x", "!!timestamp x")),
        ("seed: [1\n", "cannot be read"),
        ("a: &a [*a]\n", "cyclic"),
        ("seed: !!python/object/apply:os.system [ls]\n", "cannot be read"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{n}: &{n} [{','.join(['*' + p] * 10)}]\n" for p, n in zip("abcdef", "bcdefg", strict=True)),
            "multiply",
        ),
    ],
)
def test_faulty_yaml_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert told in problem(str(file))


def test_yaml_numbers_without_a_point_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("learning_rate: 2e-5\nrun_name: 2024-01-01\n")
    assert values(str(file)) == {"training": {"learning_rate": 2e-5}, "tracking": {"run_name": "2024-01-01"}}


def test_a_missing_file_and_one_in_another_encoding_are_told(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_bytes('{"run_name": "é"}'.encode("latin-1"))
    assert "not UTF-8" in problem(str(file))
    assert "No such file" in problem(str(tmp_path / "missing.json"))


def test_a_windows_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_bytes(b"\xef\xbb\xbf" + b'{\r\n"seed": 3\r\n}')
    assert values(str(file)) == {"training": {"seed": 3}}


def test_a_second_file_is_refused(tmp_path: Path) -> None:
    assert "one configuration file is read" in problem("a.json", "b.json")


def test_names_that_lost_their_meaning_are_noticed_and_not_refused() -> None:
    loaded = load_mapping({"save_safetensors": True, "seed": 1})
    assert loaded.problems == []
    assert "save_safetensors" in loaded.notices[0]


def test_a_documents_own_config_json_can_be_run_again(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    settings = {"training": {"seed": 3, "hub_token": "[redacted]"}}
    file.write_text(json.dumps({"values": settings, "sources": {"training.seed": "default"}}))
    assert values(str(file)) == {"training": {"seed": 3}}
