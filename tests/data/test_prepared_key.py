from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tuning.config.sections import Data, Dataset, Handler
from tuning.data.formats import FORMATS, DataFormat
from tuning.data.handlers import DATA_HANDLERS
from tuning.data.prepared_key import rows_key
from tuning.data.tasks import TASKS, Task
from tuning.registry import Registry

CODE = "def convert(row, word='a'):\n    return {'text': word}\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that a user wrote."""
    (tmp_path / "own_of_a_user.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("own_of_a_user")
    del sys.modules["own_of_a_user"]


@pytest.fixture
def rows(tmp_path: Path) -> list[str]:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}')
    return [str(tmp_path / "rows.jsonl")]


def register(monkeypatch: pytest.MonkeyPatch, registry: Registry[Any], name: str, value: Any) -> None:
    monkeypatch.setitem(registry._registered, name, value)


def is_another_after_an_edit(data: Data, own: Any) -> bool:
    before = rows_key(data, 1)
    assert rows_key(data, 1) == before
    os.utime(own.__file__, ns=(0, 0))
    return rows_key(data, 1) != before


def test_an_edit_of_a_handler_whose_arguments_are_bound_makes_another_key(
    own: Any, rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, DATA_HANDLERS, "own", partial(own.convert, word="a"))
    data = Data(datasets=[Dataset(data_paths=rows, data_handlers=[Handler(name="own")])])
    assert is_another_after_an_edit(data, own)
    key = rows_key(data, 1)
    register(monkeypatch, DATA_HANDLERS, "own", partial(own.convert, word="b"))
    assert rows_key(data, 1) != key


@pytest.mark.parametrize("settings", [{"data_format": "own"}, {"task_type": "own"}, {}])
def test_an_edit_of_a_format_of_a_user_makes_another_key(
    own: Any, rows: list[str], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "own" if settings else "text"  # without a word of the user, the columns say which format it is
    register(monkeypatch, FORMATS, name, DataFormat(("text",), own.convert))
    register(monkeypatch, TASKS, "own", Task((name,)))
    assert is_another_after_an_edit(Data(training_data_path=rows, **settings), own)


def test_other_formats_of_a_task_make_another_key(rows: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for formats in (("text",), ("chat", "text")):
        register(monkeypatch, TASKS, "own", Task(formats))
        keys.add(rows_key(Data(training_data_path=rows, task_type="own"), 1))
    assert len(keys) == 2


def test_built_in_code_leaves_the_key_alone(own: Any, rows: list[str]) -> None:
    assert not is_another_after_an_edit(Data(training_data_path=rows), own)
