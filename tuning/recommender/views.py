"""How a completed document is shown: as a table, with every reason, as a patch, or beside another machine's."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuning.config.ir import IR, leaves
from tuning.errors import UserError
from tuning.recommender.action import Level, Recommendation
from tuning.recommender.completion import Completed
from tuning.recommender.inputs import inputs_of

FORMATS = ("table", "json", "yaml")
ONLY_YOU = "Only you can put this right: "
_LONGEST_VALUE = 60


def check_format(form: str) -> None:
    """Refuse a format before anything is read.

    Raises:
        UserError: there is no such format.
    """
    if form not in FORMATS:
        raise UserError(f"--format: expected one of {', '.join(FORMATS)}; got '{form}'")


def as_format(document: Any, table: str, form: str) -> str:
    """Write a document in one of `FORMATS`; `table` is the same for people."""
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    if form == "yaml":
        import yaml

        # Through JSON, so that an object that stands in two places is written twice and not as an anchor.
        plain = json.loads(json.dumps(document, allow_nan=False))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120).rstrip("\n")
    return table


def report(ir: IR, recommendations: Sequence[Recommendation]) -> str:
    """Write a table of value, action and comment, and below it what became of the user's own values."""
    filled = [(made, values) for made in recommendations if (values := list(leaves(made.patch)))]
    rows = [row for made, values in filled for row in _rows(made, values)]
    rows += [row for made in recommendations if _only_warns(made) for row in _rows(made, [])]
    lines = list(_table(rows)) if rows else ["Nothing to fill in."]
    overridden = [each for made in recommendations for each in made.overridden]
    declined = [each for made in recommendations for each in made.declined]
    return "\n".join([*lines, *_listed("Yours, and replaced:", overridden), *_listed("Yours, and kept:", declined)])


def _rows(made: Recommendation, values: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each value, or one without; the first has the comment that holds for all."""
    written = [f"{path} = {short(value)}" for path, value in values] or ["(nothing to fill in)"]
    marked = ONLY_YOU if made.level is Level.USER_INTERVENTION else ""
    yield written[0], made.action, f"{marked}{made.comment}"
    yield from ((value, made.action, "") for value in written[1:])


def short(value: Any) -> str:
    """Write a value on a line of a table; a chat template has its place in the other formats."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def summary(completed: Completed) -> dict[str, Any]:
    """Lay the completed document and its reasons out as plain JSON."""
    made = [recommendation.to_dict() for recommendation in completed.recommendations]
    return {"config": dict(completed.ir.values), "recommendations": made}


def explanations(completed: Completed) -> list[dict[str, Any]]:
    """Explain each value: where it came from and, where a rule wrote it or would have, its reason and its inputs."""
    reasons = list(_reasons(completed))
    filled = {path: reason for path, _, reason in reasons}
    values = [
        {"path": path, "value": value, "from": completed.ir.sources.get(path, "default"), **filled.pop(path, {})}
        for path, value in leaves(completed.ir.values)
    ]
    return [*values, *({"path": path, "value": value, **filled[path]} for path, value, _ in reasons if path in filled)]


def explain(explained: Iterable[Mapping[str, Any]]) -> str:
    """Write explanations for people, one paragraph for each value that has a reason."""
    return "\n".join(line for each in explained for line in _paragraph(each))


def diff(completed: Completed) -> list[dict[str, Any]]:
    """List what is filled in as RFC 6902 operations; the members `comment` and `action` are ignored by any reader."""
    return [
        {**operation, "comment": made.comment, "action": made.action}
        for made in completed.recommendations
        for operation in made.json_patch
    ]


def diff_text(operations: Iterable[Mapping[str, Any]]) -> str:
    """Write operations for people: the comment of an action once, above what it does."""
    lines, last = [], None
    for operation in operations:
        if (said := f"# {operation['action']}: {operation['comment']}") != last:
            lines += [*([""] if lines else []), *textwrap.wrap(said, 118, subsequent_indent="# ")]
            last = said
        value = json.dumps(operation["value"], ensure_ascii=False) if "value" in operation else ""
        lines.append(f"{operation['op']:<8}{operation['path']} {value}".rstrip())
    return "\n".join(lines) or "Nothing to fill in."


def _reasons(completed: Completed) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield path, value and reason of all that the actions wrote, would have written, or warn of."""
    actions = {action.name: action for action in completed.actions}
    for made in completed.recommendations:
        action = actions.get(made.action)
        inputs = inputs_of(action, completed.ir, completed.facts) if action is not None else {}
        reason = {
            "action": made.action,
            "reason": made.comment,
            "level": made.level.value,
            "kind": made.kind.value,
            "source": made.source,
            "inputs": inputs,
        }
        yield from ((path, value, reason) for path, value in leaves(made.patch))
        yield from ((each.path, each.user, {**reason, "suggested": each.suggested}) for each in made.declined)
        if _only_warns(made):
            yield made.action, None, reason


def _paragraph(explained: Mapping[str, Any]) -> Iterator[str]:
    origin = explained.get("from", f"action {explained.get('action')}")
    yield f"{explained['path']} = {json.dumps(explained['value'], ensure_ascii=False)}  ({origin})"
    if "reason" not in explained:
        return
    yield f"    {explained['level']}, {explained['kind']}, {explained['action']}"
    if "suggested" in explained:
        yield f"    suggested {json.dumps(explained['suggested'], ensure_ascii=False)}, kept out by your own value"
    inputs = ", ".join(f"{path}={_brief(value)}" for path, value in explained["inputs"].items())
    for name, text in (("because", explained["reason"]), ("source", explained["source"]), ("inputs", inputs)):
        yield from textwrap.wrap(f"{name:<9}{text}", 114, initial_indent="    ", subsequent_indent=" " * 13)


def _listed(title: str, items: Sequence[object]) -> list[str]:
    return ["", title, *(f"  {item}" for item in items)] if items else []


def _brief(value: Any) -> str:
    return f"({len(value)} values)" if isinstance(value, (list, dict)) else json.dumps(value, ensure_ascii=False)


def _only_warns(made: Recommendation) -> bool:
    return not made.patch and not made.declined


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    header = ("value", "action", "comment")
    first, second = (max(len(row[column]) for row in (header, *rows)) for column in (0, 1))
    width = max(40, shutil.get_terminal_size((160, 24)).columns - first - second - 4)
    for value, action, comment in (header, *rows):
        lines = textwrap.wrap(comment, width) or [""]
        yield f"{value:<{first}}  {action:<{second}}  {lines[0]}".rstrip()
        yield from (" " * (first + second + 4) + line for line in lines[1:])
