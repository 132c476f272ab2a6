"""Turn rows that hold a conversation into messages: OpenAI's and ShareGPT's keys, tool calls, MTRAG's turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tuning.data.cells import checked_text, optional_text, refuse_characters, text_of
from tuning.data.prompts import context_and_question
from tuning.errors import DataError

_ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool", "function", "ipython")},
    # What Granite's templates know besides.
    **{role: role for role in ("available_tools", "documents", "tool_response", "assistant_tool_call")},
    **{"human": "user", "gpt": "assistant", "agent": "assistant", "observation": "tool"},
}
"""Role as rows name it -> role of a message."""
_TOOL_CALL = "function_call"
_SPELLINGS = frozenset({"role", "from", "content", "value", "tool_calls"})


def chat(row: Mapping[str, Any], column: str = "messages") -> dict[str, Any]:
    """Return the messages of a column and, where there are any, the tools.

    Raises:
        DataError: it holds no conversation in which the assistant answers.
    """
    turns = messages_of(row, column)
    if not any(turn["role"] == "assistant" for turn in turns[1:]):
        raise DataError(f"column {column}: no message of the assistant answers another, so nothing to train on")
    return {"messages": turns, **tools_of(row)}


def share_gpt(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the messages of ShareGPT's column."""
    return chat(row, "conversations")


def prompt_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return prompt and completion as they stand: two texts, or two lists of messages.

    Raises:
        DataError: they are neither, or a list to be learned does not begin with the assistant.
    """
    if not isinstance(row.get("prompt"), list):
        return {"prompt": text_of(row, "prompt", may_be_empty=True), "completion": text_of(row, "completion")}
    prompt, completion = messages_of(row, "prompt"), messages_of(row, "completion")
    if completion[0]["role"] != "assistant":
        raise DataError(f"completion[0]: expected a message of the assistant, got one of '{completion[0]['role']}'")
    return {"prompt": prompt, "completion": completion, **tools_of(row)}


def mtrag(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turns of MTRAG's `input`, the last with the passages before it, and the first of its `targets`.

    Raises:
        DataError: one of them is missing or empty.
    """
    turns = [_turn(turn, f"input[{index}]") for index, turn in enumerate(_objects(row, "input"))]
    targets = [_turn(turn, f"targets[{index}]") for index, turn in enumerate(_objects(row, "targets"))]
    passages = [text_of(passage, "text") for passage in _objects(row, "contexts", may_be_empty=True)]
    asked = {**turns[-1], "content": context_and_question("\n\n".join(passages), turns[-1]["content"])}
    return {"prompt": [*turns[:-1], asked], "completion": [{**targets[0], "role": "assistant"}]}


def messages_of(row: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    """Return the messages in a column.

    Raises:
        DataError: it holds no list of messages, or one of them is none.
    """
    messages = row.get(column)
    if column not in row or not isinstance(messages, list) or not messages:
        got = "none" if column not in row else "an empty one" if messages == [] else type(messages).__name__
        raise DataError(f"column {column}: expected a list of messages, got {got}")
    return [_message(message, f"{column}[{index}]") for index, message in enumerate(messages)]


def tools_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tools of a row under the key that chat templates take them from; nothing where it has none.

    Raises:
        DataError: the column is neither a list of descriptions nor JSON text of one.
    """
    tools = _parsed(row["tools"], "column tools") if row.get("tools") else []
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise DataError("column tools: expected a list of objects, one for each tool")
    _refuse_characters_in(tools, "column tools")
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return {"tools": wrapped} if wrapped else {}


def _message(message: Any, where: str) -> dict[str, Any]:
    role = message.get("role", message.get("from")) if isinstance(message, Mapping) else None
    if not isinstance(role, str):
        raise DataError(f"{where}: expected an object with role and content")
    content = message.get("content", message.get("value"))
    if role.lower() == _TOOL_CALL:
        return {"role": "assistant", "content": "", "tool_calls": _tool_calls(_parsed(content, where), where)}
    if role.lower() not in _ROLES:
        raise DataError(f"{where}: unknown role '{role}'")
    calls = {"tool_calls": _tool_calls(message["tool_calls"], where)} if message.get("tool_calls") else {}
    kept = {name: value for name, value in message.items() if name not in _SPELLINGS and value is not None}
    _refuse_characters_in(kept, where)
    known = _ROLES[role.lower()]
    return {"role": known, "content": _content(content, where, known != "assistant", bool(calls)), **calls, **kept}


def _content(content: Any, where: str, may_be_empty: bool, has_calls: bool) -> str:
    """Return the text of a message; that of an answer may be empty where it calls a tool instead."""
    if content is None and has_calls:
        return ""
    if isinstance(content, list):
        content = "".join(_part(part, f"{where} part {number}") for number, part in enumerate(content, start=1))
    if not isinstance(content, str):
        raise DataError(f"{where}: expected content to be text, got {type(content).__name__}")
    return checked_text(content, where, may_be_empty or has_calls)


def _part(part: Any, where: str) -> str:
    if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise DataError(f"{where}: expected text; images and other parts cannot be trained on")
    return part["text"]


def _tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Return tool calls in the shape that chat templates render: arguments as an object, under `function`."""
    found = [calls] if isinstance(calls, Mapping) else calls
    if not isinstance(found, list) or not found or not all(isinstance(call, Mapping) for call in found):
        raise DataError(f"{where}: expected tool calls to be objects with a name and arguments")
    return [_tool_call(call, where) for call in found]


def _tool_call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    function = call.get("function", call)
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"{where}: expected a tool call to be an object with a name and arguments")
    arguments = _parsed(function["arguments"], f"{where}: arguments") if function.get("arguments") else {}
    around = {name: value for name, value in call.items() if value is not None} if "function" in call else {}
    made = {"type": "function", **around, "function": {**function, "arguments": arguments}}
    _refuse_characters_in(made, where)
    return made


def _refuse_characters_in(values: Any, where: str) -> None:
    if values:
        refuse_characters(json.dumps(values, ensure_ascii=False, default=str), where)


def _parsed(value: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error


def _turn(turn: Mapping[str, Any], where: str) -> dict[str, Any]:
    return _message({"role": turn.get("speaker"), "content": optional_text(turn, "text")}, where)


def _objects(row: Mapping[str, Any], column: str, may_be_empty: bool = False) -> Sequence[Mapping[str, Any]]:
    values = row.get(column)
    if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
        raise DataError(f"column {column}: expected a list of objects, got {type(values).__name__}")
    if not values and not may_be_empty:
        raise DataError(f"column {column}: is empty")
    return values
