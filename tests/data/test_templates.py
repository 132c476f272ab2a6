from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from tuning.data.templates import CHATML, chat_template_of, render_chat
from tuning.errors import UserError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_chatml_renders_turns_and_a_generation_prompt() -> None:
    rendered = render_chat(CHATML, TURNS[:1], add_generation_prompt=True, eos_token="</s>")
    assert rendered == "<|im_start|>user\nHi</s>\n<|im_start|>assistant\n"


def test_rendering_without_the_answer_is_a_prefix_of_rendering_with_it() -> None:
    assert render_chat(CHATML, TURNS).startswith(render_chat(CHATML, TURNS[:1], add_generation_prompt=True))


@pytest.mark.slow
def test_a_template_renders_as_transformers_renders_it(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHATML
    assert tokenizer.apply_chat_template(TURNS, tokenize=False) == render_chat(
        CHATML, TURNS, eos_token=tokenizer.eos_token
    )


def test_the_template_is_found_in_either_of_its_two_places(tmp_path: Path) -> None:
    assert chat_template_of(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "in the config"}))
    assert chat_template_of(tmp_path) == "in the config"
    (tmp_path / "chat_template.jinja").write_text("in its own file")
    assert chat_template_of(tmp_path) == "in its own file"


def test_a_template_that_refuses_a_conversation_says_so() -> None:
    with pytest.raises(UserError, match="roles must alternate"):
        render_chat("{{ raise_exception('roles must alternate') }}", TURNS)


def test_a_template_is_given_the_date_where_it_cannot_do_without() -> None:
    year = datetime.now().strftime("%Y")
    assert render_chat("{{ strftime_now('%Y') }}", []) == year
    guarded = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}1999{% endif %}"
    assert render_chat(guarded, []) == "1999"
