"""Render row templates and chat templates in Jinja's sandbox, without importing transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuning.errors import DataError, UserError

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The chat template of a tokenizer that has none: ChatML, where each turn ends with the tokenizer's own end token, so
that generation stops there. It marks what the assistant says, so that only that is trained on."""


class _Generation(Extension):
    """Let `{% generation %}` through: transformers' mark around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        parser.stream.skip()
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def row_renderer(template: str, columns: Sequence[str]) -> Callable[[Mapping[str, Any]], str]:
    """Compile a row template such as `### Input: {{question}}`; columns with blanks in their names work too.

    Raises:
        UserError: the template is not valid Jinja.
    """
    for column in columns:
        if not column.isidentifier():
            written = r"\{\{-?\s*" + re.escape(column) + r"\s*-?\}\}"
            template = re.sub(written, lambda _, name=column: "{{ row[" + json.dumps(name) + "] }}", template)
    compiled = _compile(template, "data_formatter_template", undefined=StrictUndefined, finalize=_no_null)

    def render(row: Mapping[str, Any]) -> str:
        try:
            return compiled.render({**row, "row": row})
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(f"data_formatter_template: {error}; the row has: {', '.join(row)}") from error

    return render


def render_chat(template: str, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """Render a conversation as its tokenizer would.

    Raises:
        UserError: the template is not valid Jinja, or refuses the conversation.
    """
    defaults = {"add_generation_prompt": False, "bos_token": "", "eos_token": "", "tools": None}
    try:
        return _compile(template, "chat_template").render({**defaults, **variables, "messages": messages})
    except (TemplateError, TypeError, ValueError) as error:
        raise UserError(f"chat_template: {error}") from error


def chat_template_of(folder: Path) -> str | None:
    """Read the chat template that a tokenizer's folder holds, in either of the two places it may stand."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return None
    template = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        return named.get("default")
    return template


def check_chat_template(template: str) -> None:
    """Compile a chat template.

    Raises:
        UserError: it is not valid Jinja.
    """
    _compile(template, "chat_template")


def _no_null(value: Any) -> Any:
    if value is None:
        raise TemplateError("a value is null, and would be written as the word None")
    return value


def _compile(template: str, field: str, **options: Any) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], **options
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise UserError(f"{field}: not a valid Jinja template: {error}") from error


def _refuse(message: str) -> None:
    raise TemplateError(message)
