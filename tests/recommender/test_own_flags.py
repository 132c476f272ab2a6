from __future__ import annotations

from typing import Any

import pytest

from tuning.config.command_line import parse_command_line
from tuning.errors import UserError
from tuning.recommender.own_flags import NOTHING, SETTINGS, take_flags

FLAGS = {"--explain": NOTHING, "--what-if": SETTINGS, "--output-dir": "a folder"}


@pytest.mark.parametrize(
    ("argv", "given"),
    [
        (["--explain", "run.json"], {"--explain": True}),
        (["--output-dir", "out", "run.json"], {"--output-dir": "out"}),
        (["--output-dir=a=b"], {"--output-dir": "a=b"}),
        (["--what-if", "gpus=8", "ram_gib=1", "run.json"], {"--what-if": ["gpus=8", "ram_gib=1"]}),
        (["--what-if", "gpus=8", "--explain", "lr=1"], {"--what-if": ["gpus=8"], "--explain": True}),
        (["--what-if=gpus=8", "--what-if", "ram_gib=1"], {"--what-if": ["gpus=8", "ram_gib=1"]}),
        (["--output_dir", "out", "--what_if", "gpus=8"], {}),
    ],
)
def test_own_flags_are_taken_letter_by_letter(argv: list[str], given: dict[str, Any]) -> None:
    assert take_flags(argv, FLAGS)[1] == given


def test_words_on_both_sides_of_a_flag_stay_apart() -> None:
    words, _ = take_flags(["--learning_rate", "0.1", "--explain", "run.json", "--what-if", "gpus=8", "seed=1"], FLAGS)
    parsed = parse_command_line(words)
    assert parsed.config_path == "run.json"
    assert [(each.key, each.text) for each in parsed.overrides] == [("learning_rate", "0.1")]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--explain=yes"], "--explain: takes no value"),
        (["--output-dir"], "--output-dir: expected a folder after it"),
        (["--output-dir="], "--output-dir: expected a folder after it"),
        (["--output-dir", "--explain"], "--output-dir: expected a folder after it"),
        (["--what-if", "run.json"], "--what-if: expected key=value after it"),
    ],
)
def test_what_else_stands_after_a_flag_is_an_error(argv: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        take_flags(argv, FLAGS)
