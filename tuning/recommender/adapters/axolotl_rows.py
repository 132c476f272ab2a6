"""How axolotl is told of rows: the entries of `datasets` and `test_datasets`, and their `type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.recommender.adapters.conversions import BUILDERS, as_list, builder_of, take_default
from tuning.recommender.adapters.mapping import Reading, Writing

_FROM_VALUE = {"role": "from", "content": "value"}
_ROLE_CONTENT = {"role": "role", "content": "content"}
_OLDER_NAMES = {"message_field_role": "role", "message_field_content": "content"}


def _columns(prompt: str, answer: str) -> dict[str, str]:
    """Write axolotl's own kind of prompt for rows of two columns that follow each other as they are."""
    one_after_the_other = {"format": "{instruction}", "no_input_format": "{instruction}"}
    return {"field_instruction": prompt, "field_output": answer, **one_after_the_other}


_TYPES: dict[str, dict[str, Any]] = {
    "instruction": {"type": "alpaca"},
    "chat": {"type": "chat_template"},
    "sharegpt": {
        "type": "chat_template",
        "field_messages": "conversations",
        "message_property_mappings": _FROM_VALUE,
    },
    "text": {"type": "completion"},
    "prompt_completion": {"type": _columns("prompt", "completion")},
    "input_output": {"type": _columns("input", "output")},
}
"""data_format -> the keys of an entry that say the same."""
_NOT_HERE = "says nothing here"
_KEYS = ("type", "field_messages", "message_property_mappings", "message_field_role", "message_field_content", "field")


def read_rows(reading: Reading) -> None:
    """Read both lists; entries that are of another shape than the first keep only their rows."""
    kinds: list[tuple[str, dict[str, Any]]] = []
    for key, path in (("datasets", "data.training_data_path"), ("test_datasets", "data.validation_data_path")):
        entries = reading.take(key)
        if entries is None:
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
            reading.refuse(key, entries, "expected a list of objects with a path")
            continue
        found = [_read_entry(reading, f"{key}[{index}]", entry, kinds) for index, entry in enumerate(entries)]
        if paths := [path for paths in found for path in paths]:
            reading.put(path, paths, key)
    for where, kind in kinds:
        _read_kind(reading, where, kind, kinds[0][1])


def _read_entry(
    reading: Reading, key: str, entry: Mapping[str, Any], kinds: list[tuple[str, dict[str, Any]]]
) -> list[str]:
    """Return the paths of an entry, and add how it says the shape of its rows to `kinds`."""
    left = Reading({name: value for name, value in entry.items() if value is not None}, reading.source)
    path, files = left.take("path"), left.take("data_files")
    if not isinstance(path, str) or not path:
        reading.refuse(f"{key}.path", path, "expected a Hub id, a file or a folder")
        return []
    kinds.append((key, {name: value for name in _KEYS if (value := left.take(name)) is not None}))
    for name, harmless in (("ds_type", builder_of(path)), ("chat_template", "tokenizer_default")):
        take_default(left, name, harmless)
    if path in BUILDERS:
        take_default(left, "ds_type", path)
    if (split := left.take("split")) is not None:
        reading.put("data.dataset_split", split, "datasets[].split")
    paths = as_list(files) if path in BUILDERS and files is not None else [path]
    if files is not None and path not in BUILDERS:
        left.skip("data_files", files, "a Hub dataset is taken whole")
    for name, value in left.left.items():
        left.skip(name, value, "names a chat template of axolotl" if name == "chat_template" else _NOT_HERE)
    for item in left.unmapped:
        reading.skip(f"{key}.{item.key}", item.value, item.why)
    return paths


def _read_kind(reading: Reading, key: str, kind: dict[str, Any], first: dict[str, Any]) -> None:
    if not kind:
        return
    if kind != first:
        reading.skip(f"{key}.type", kind.get("type"), "one run has rows of one shape; the first dataset's is taken")
        return
    kind = _in_the_newest_words(kind)
    by_shape = next((name for name, said in _TYPES.items() if said == kind), None)
    if by_shape is not None:
        reading.put("data.data_format", by_shape, "datasets[].type")
    elif kind.keys() == {"type", "field_messages"} and kind["type"] == "chat_template":
        reading.put("data.dataset_conversation_field", kind["field_messages"], "datasets[].field_messages")
    elif kind.keys() == {"type", "field"} and kind["type"] == "completion":
        reading.put("data.dataset_text_field", kind["field"], "datasets[].field")
    else:
        for name, value in kind.items():
            reading.skip(f"{key}.{name}", value, "such rows have no counterpart here; give data_formatter_template")


def _in_the_newest_words(kind: Mapping[str, Any]) -> dict[str, Any]:
    """Say with `message_property_mappings` what older files say with two keys, or with the type sharegpt."""
    if kind == {"type": "sharegpt"}:
        return _TYPES["sharegpt"]
    said = {name: value for name, value in kind.items() if name not in _OLDER_NAMES}
    older = {role: kind[name] for name, role in _OLDER_NAMES.items() if name in kind}
    if older and "message_property_mappings" not in said:
        said["message_property_mappings"] = {**_ROLE_CONTENT, **older}
    if said.get("message_property_mappings") == _ROLE_CONTENT:
        del said["message_property_mappings"]
    return {**_TYPES["chat"]} if said == {**_TYPES["chat"], "field_messages": "messages"} else said


def write_rows(writing: Writing) -> None:
    """Write an entry for each path; how the rows look is said in each."""
    parts = (("data.training_data_path", "datasets"), ("data.validation_data_path", "test_datasets"))
    paths = {key: found for path, key in parts if (found := writing.take(path)) is not None}
    if not paths:
        return
    kind, split = _kind(writing), writing.take("data.dataset_split")
    if split is not None:
        kind["split"] = split
    for key, found in paths.items():
        writing.put(key, [{**_where(file), **kind} for file in as_list(found)])


def _where(path: str) -> dict[str, str]:
    builder = builder_of(path)
    return {"path": path} if builder is None else {"path": path, "ds_type": builder}


def _kind(writing: Writing) -> dict[str, Any]:
    if (column := writing.take("data.dataset_conversation_field")) is not None:
        return {"type": "chat_template", "field_messages": column}
    if (column := writing.take("data.dataset_text_field")) is not None:
        return {"type": "completion", "field": column}
    name = writing.take("data.data_format")
    if name is not None and name not in _TYPES:
        writing.skip("data.data_format", name, "axolotl has no type for rows of this shape")
    return dict(_TYPES.get(str(name), {}))
