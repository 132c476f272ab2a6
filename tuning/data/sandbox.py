"""Jinja's sandbox, set up as transformers sets it up for chat templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from tuning.data.templates import ANSWER_BEGINS, ANSWER_ENDS
from tuning.errors import UserError

_LONGEST = 10_000_000
"""Characters, or items of a list, that one operation of a template may make."""
_LARGEST_POWER = 1_000

_CAN_DO_WITHOUT_DATE = "strftime_now is defined"


class RenderError(Exception):
    """A template that fails, and why."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which no single operation makes a value without bound."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, where the outcome is of a size that a template can have use for."""
        if operator == "**" and not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError("only numbers can be raised to a power")
        if operator == "**" and max(abs(left), abs(right)) > _LARGEST_POWER:
            raise SecurityError(f"the power is above {_LARGEST_POWER}")
        longest = max(_length(left, right), _length(right, left))
        if operator == "*" and longest > _LONGEST:
            raise SecurityError(f"it is longer than {_LONGEST:,} characters")
        return super().call_binop(context, operator, left, right)


def _length(many: Any, times: Any) -> int:
    """Say how long a text or a list is when it is repeated; 0 where it is none."""
    return len(many) * times if isinstance(many, str | list | tuple) and isinstance(times, int) else 0


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


def rendered(template: Any, variables: Mapping[str, Any]) -> str:
    """Render a compiled template.

    Raises:
        RenderError: it fails; says why.
    """
    try:
        return template.render(variables)
    except RecursionError as error:
        raise RenderError("it calls itself without end") from error
    except MemoryError as error:
        raise RenderError("it takes more memory than there is") from error
    except Exception as error:  # a template may fail in any way that Python's own types do
        raise RenderError(str(error) or type(error).__name__) from error


def _no_null(value: Any) -> Any:
    if value is None:
        raise TemplateError("a value is null, and would be written as the word None")
    return value


def _compile(template: str, field: str, generation: type[Extension], **options: Any) -> Any:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, generation], **options)
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
