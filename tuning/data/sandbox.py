"""Jinja's sandbox, set up as transformers sets it up for chat templates."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuning.data.templates import ANSWER_BEGINS, ANSWER_ENDS
from tuning.errors import UserError

_CAN_DO_WITHOUT_DATE = "strftime_now is defined"


class _Generation(Extension):
    """Let `{% generation %}` through: transformers' mark around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        parser.stream.skip()
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _MarkedGeneration(_Generation):
    """Write a character before and after what stands in `{% generation %}`."""

    def parse(self, parser: Parser) -> list[nodes.Node]:
        body = super().parse(parser)
        begins, ends = (nodes.Output([nodes.TemplateData(mark)]) for mark in (ANSWER_BEGINS, ANSWER_ENDS))
        return [begins, *(body if isinstance(body, list) else [body]), ends]


def compile_row_template(template: str, field: str) -> Any:
    """Compile a template that refuses what is missing or null.

    Raises:
        UserError: it is not valid Jinja.
    """
    return _compile(template, field, _Generation, undefined=StrictUndefined, finalize=_no_null)


def compile_chat_template(template: str, is_marked: bool = False) -> Any:
    """Compile a chat template; `is_marked` writes `ANSWER_BEGINS` and `ANSWER_ENDS` around generation blocks.

    A template that can do without today's date is not given it, so that the same rows make the same tokens every day.

    Raises:
        UserError: it is not valid Jinja.
    """
    compiled = _compile(template, "chat_template", _MarkedGeneration if is_marked else _Generation)
    if _CAN_DO_WITHOUT_DATE not in template:
        compiled.globals["strftime_now"] = _strftime_now
    return compiled


def _no_null(value: Any) -> Any:
    if value is None:
        raise TemplateError("a value is null, and would be written as the word None")
    return value


def _compile(template: str, field: str, generation: type[Extension], **options: Any) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, generation], **options
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise UserError(f"{field}: not a valid Jinja template: {error}") from error


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _refuse(message: str) -> None:
    raise TemplateError(message)
