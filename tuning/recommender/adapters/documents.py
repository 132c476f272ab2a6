"""Read the files of other programs, and write documents as their files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tuning.config.strict_json import load_json
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.errors import ConfigError, Problem, UserError, reason_of


def read_document(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds one object; the ending of its name says which.

    Raises:
        UserError: the file cannot be read, is of no use, or gives a key twice; says which and why.
    """
    name = str(path)
    try:
        text = read_text(Path(os.path.expanduser(path)))
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: the file is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror or error}") from error
    return parse_document(text, name)


def parse_document(text: str, name: str) -> dict[str, Any]:
    """Read the text of a file that holds one object.

    Raises:
        UserError: the text is not JSON or YAML, as the ending of `name` says it is, or holds no object.
    """
    try:
        document, problems = load_yaml(text) if name.endswith((".yaml", ".yml")) else load_json(text)
    except ValueError as error:
        raise UserError(f"{name}: cannot be read: {reason_of(error)}") from error
    if problems:
        raise ConfigError(Problem(found.path, found.expected, found.value, f"file {name}") for found in problems)
    if not isinstance(document, dict):
        raise UserError(f"{name}: expected an object of keys and values, got {type(document).__name__}")
    return _with_text_keys(document)


def render(name: str, content: Mapping[str, Any] | str) -> str:
    """Write a file's document as YAML or JSON, as the ending of its name says; a text is written as it is."""
    if isinstance(content, str):
        return content
    if name.endswith((".yaml", ".yml")):
        return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _with_text_keys(value: Any) -> Any:
    """Write keys that YAML reads as numbers or nothing as the text they were."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value
