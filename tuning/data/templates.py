"""Render row templates and chat templates in Jinja's sandbox, without importing transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.config.text_files import read_text
from tuning.errors import DataError, UserError

CHATML = (
    "{% if tools %}"
    "{{ '<|im_start|>system\\nFunctions that can be called:\\n' }}"
    "{% for tool in tools %}{{ tool | tojson + '\\n' }}{% endfor %}"
    "{{ 'A call is written as <tool_call>{\"name\": ..., \"arguments\": ...}</tool_call>.' + eos_token + '\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}"
    "{{ message['content'] or '' }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>' + (call['function'] or call) | tojson + '</tool_call>' }}"
    "{% endfor %}"
    "{{ eos_token }}"
    "{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The chat template of a tokenizer that has none: ChatML, where each turn ends with the tokenizer's own end token, so
that generation stops there. It marks what the assistant says, calls of functions among it, so that only that is
trained on."""


ANSWER_BEGINS, ANSWER_ENDS = "\ufdd0", "\ufdd1"
"""What `chat_renderer` writes around what the template marks as the assistant's: characters that no text may hold."""


def row_renderer(
    template: str, columns: Sequence[str], field: str = "data_formatter_template"
) -> Callable[[Mapping[str, Any]], str]:
    """Compile a row template such as `### Input: {{question}}`; columns with blanks in their names work too.

    `element` and `row` are the row itself; a column that is called `element` counts before that.

    Raises:
        UserError: the template is not valid Jinja.
    """
    from tuning.data.sandbox import RenderError, compile_row_template, rendered

    for column in columns:
        if not column.isidentifier():
            written = r"\{\{-?\s*" + re.escape(column) + r"\s*-?\}\}"
            template = re.sub(written, lambda _, name=column: "{{ row[" + json.dumps(name) + "] }}", template)
    compiled = compile_row_template(template, field)

    def render(row: Mapping[str, Any]) -> str:
        try:
            return rendered(compiled, {"element": row, **row, "row": row})
        except RenderError as error:
            raise DataError(f"{field}: {error}; the row has: {', '.join(row)}") from error

    return render


def render_chat(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Render a conversation as its tokenizer would.

    Raises:
        UserError: the template is not valid Jinja, or refuses the conversation.
    """
    from tuning.data.sandbox import RenderError, compile_chat_template, rendered

    defaults = {"add_generation_prompt": False, "bos_token": "", "eos_token": "", "tools": None}
    try:
        return rendered(compile_chat_template(template), {**defaults, **variables, "messages": messages})
    except RenderError as error:
        raise UserError(f"chat_template: {error}") from error


def chat_renderer(template: str, variables: Mapping[str, Any]) -> Callable[..., str]:
    """Compile a chat template into a function of messages, tools and whether a prompt for an answer follows.

    What the template marks as the assistant's stands between `ANSWER_BEGINS` and `ANSWER_ENDS`. `variables` are the
    tokenizer's special tokens by name, such as `bos_token`. The function raises DataError where the template refuses.

    Raises:
        UserError: the template is not valid Jinja.
    """
    from tuning.data.sandbox import RenderError, compile_chat_template, rendered

    compiled = compile_chat_template(template, is_marked=True)

    def render(messages: Sequence[Mapping[str, Any]], tools: Any = None, add_generation_prompt: bool = False) -> str:
        given = {**variables, "messages": messages, "tools": tools, "add_generation_prompt": add_generation_prompt}
        try:
            return rendered(compiled, given)
        except RenderError as error:
            raise DataError(f"the chat template refuses the conversation: {error}") from error

    return render


def read_chat_template(path: Path) -> str | None:
    """Read a chat template from a Jinja file, or from the folder of a tokenizer; None where the folder has none.

    Raises:
        OSError: there is no such file or folder, or it cannot be read.
        ValueError: the text cannot be made sense of.
    """
    return chat_template_of(path) if path.is_dir() else read_text(path)


def chat_template_of(folder: Path) -> str | None:
    """Read the chat template that a tokenizer's folder holds, in either of the two places it may stand.

    Raises:
        ValueError: the file that it should stand in cannot be made sense of.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return None
    try:
        document = json.loads(config.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{config}: nested too deeply") from error
    template = document.get("chat_template") if isinstance(document, dict) else None
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[-1].get("template") if named else None
    return template if isinstance(template, str) else None


def check_chat_template(template: str) -> None:
    """Compile a chat template.

    Raises:
        UserError: it is not valid Jinja.
    """
    from tuning.data.sandbox import compile_chat_template

    compile_chat_template(template)
