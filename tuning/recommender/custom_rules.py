"""Rules that are not part of this package: read from a folder when asked to, and kept from failing without a name.

Loading a folder runs the Python code in it, so nothing does it unless the user's own configuration says so.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

from tuning.config.ir import IR
from tuning.config.names import field_paths, suggestion
from tuning.config.schema import sections
from tuning.errors import ConfigError, Problem, TuningError, UserError, shown
from tuning.recommender.action import Action, Recommendation
from tuning.recommender.facts import Facts

logger = logging.getLogger(__name__)

PREFIX = "Custom_"
_FIELD = "recommender.rules_dir"
_OWN_SOURCES = ("argument", "command line", "environment ", "file ")
"""Where a folder of code may be named: in what the user of this machine wrote, never in a request."""


def rules_of(ir: IR) -> list[Action]:
    """Load the rules of the folder that a document names; none where it names none.

    Raises:
        ConfigError: the folder was named by somebody else than the user of this machine.
        UserError: the folder or a file in it cannot be used.
    """
    folder = ir.get(_FIELD)
    if folder is None:
        return []
    source = ir.sources.get(_FIELD, "")
    if not source.startswith(_OWN_SOURCES):
        expected = "the files of such a folder run as code, so only your own file or command line may name it"
        raise ConfigError([Problem(_FIELD, expected, folder, source)])
    return load_rules_dir(folder)


def load_rules_dir(folder: str | Path) -> list[Action]:
    """Run the `.py` files of one folder, in the order of their names, and make one of each rule that they define.

    A rule is a subclass of `Action` whose name starts with `Custom_`. Subfolders, hidden files and imported classes are
    left out.

    Raises:
        UserError: the folder cannot be read or holds no rule, a link leads out of it, or a file fails; names the line.
    """
    path = Path(os.path.expanduser(folder))
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".py" and not file.name.startswith("."))
    except OSError as error:
        raise UserError(f"{_FIELD}: '{folder}' cannot be read: {error.strerror or error}") from error
    rules = [rule for file in files if not file.is_dir() for rule in _rules_in(file)]
    if not rules:
        raise UserError(f"{_FIELD}: '{folder}' holds no class that is named {PREFIX}… and subclasses Action")
    return rules


def check_names(actions: Iterable[Action]) -> None:
    """Refuse actions that share a name: a value's source would not say which of them wrote it.

    Raises:
        UserError: two actions have one name.
    """
    for name, count in Counter(action.name for action in actions).items():
        if count > 1:
            raise UserError(f"{count} rules are called {name}; give each a name of its own")


def applied(action: Action, ir: IR, facts: Facts) -> Recommendation | None:
    """Ask an action; one that is not of this package sees a copy of the document, and fails by name.

    Raises:
        UserError: a rule of the user's failed, or returned something else; names the class, the file and the line. Or
            one of ours met a number beyond what a computer reckons with.
    """
    try:
        if _is_ours(action):
            return action.apply(ir, facts)
        made = action.apply(IR(copy.deepcopy(ir.values), dict(ir.sources)), facts)
        return None if made is None else _checked(made, action)
    except OverflowError as error:
        told = "a number in the configuration or in the model's files is too large to be worked with"
        raise UserError(f"rule {action.name}: {told}: {error}") from error
    except Exception as error:
        if isinstance(error, TuningError) or _is_ours(action):
            raise
        file = _file_of(action)
        raise UserError(f"rule {action.name} ({_place(error, file)}) failed: {_told(error)}") from error


def _rules_in(file: Path) -> list[Action]:
    module = _module_of(file)
    classes = {name: kind for name, kind in vars(module).items() if _is_class_of(kind, module)}
    kinds = [kind for name, kind in classes.items() if name.startswith(PREFIX) and issubclass(kind, Action)]
    for name, kind in classes.items():
        if name.startswith(PREFIX) != issubclass(kind, Action):
            logger.warning("%s: %s is no rule: one subclasses Action, and is named %s…", file, name, PREFIX)
    try:
        return [kind() for kind in kinds]
    except Exception as error:
        raise UserError(f"{_FIELD}: {_place(error, str(file))}: {_told(error)}") from error


def _is_class_of(kind: Any, module: ModuleType) -> bool:
    return isinstance(kind, type) and kind.__module__ == module.__name__


def _module_of(file: Path) -> ModuleType:
    """Run a file as a module under a name that no other can have; no byte code is left beside it."""
    code = _compiled(file)
    name = f"_{PREFIX.lower()}{hashlib.sha256(str(file.absolute()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(file))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        exec(code, vars(module))  # what rules_dir is for  # nosec
    except (Exception, SystemExit) as error:
        raise UserError(f"{_FIELD}: {_place(error, str(file))}: {_told(error)}") from error
    return module


def _compiled(file: Path) -> CodeType:
    try:
        if file.resolve(strict=True).parent != file.parent.resolve():
            raise UserError(f"{_FIELD}: {file} is a link that leads out of the folder; only files in it are run")
        if not file.is_file():
            raise UserError(f"{_FIELD}: {file} cannot be read: it is no plain file")
        return compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UserError(f"{_FIELD}: {file}, line {error.lineno or 1}: {error.msg}") from error
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        raise UserError(f"{_FIELD}: {file} cannot be read: {error}") from error


def _checked(made: Any, action: Action) -> Recommendation:
    """Return what a rule returned.

    Raises:
        UserError: a rule of the user's own folder suggests values that no field takes; names the rule and its file.
        TypeError: it is no recommendation.
        ValueError: its patch cannot be written as JSON.
    """
    if not isinstance(made, Recommendation):
        raise TypeError(f"expected a Recommendation or None, got {type(made).__name__}")
    if not isinstance(made.patch, Mapping):
        raise TypeError(f"expected a patch of field names and values, got {type(made.patch).__name__}")
    json.dumps(made.patch, allow_nan=False)
    if type(action).__name__.startswith(PREFIX) and (wrong := "; ".join(_wrong_values(made.patch))):
        raise UserError(f"rule {action.name} ({_file_of(action)}): {wrong}")
    return made


def _wrong_values(patch: Mapping[str, Any]) -> Iterator[str]:
    """Name each path of a patch that is like a field and none, and each value that its field does not take.

    Anything else is a key of another program's, which the document keeps.
    """
    from tuning.recommender.adapters.mapping import checked  # few runs have such a rule

    fields = set(field_paths().values())
    for head, given in patch.items():
        inside = isinstance(given, Mapping) and (head in sections() or head not in fields)
        for path, value in ((f"{head}.{name}", each) for name, each in given.items()) if inside else [(head, given)]:
            if path not in fields:
                if head in sections() or (not inside and suggestion(head)):
                    yield f"{path}: there is no such field. {suggestion(path.rpartition('.')[2]) or ''}".rstrip()
                continue
            try:
                checked(path, value)
            except ValueError as error:
                yield f"{path}: got {shown(value)}; {error}"


def _is_ours(action: Action) -> bool:
    return type(action).__module__.partition(".")[0] == __name__.partition(".")[0]


def _file_of(action: Action) -> str:
    return str(getattr(sys.modules.get(type(action).__module__), "__file__", None) or "no file")


def _place(error: BaseException, file: str) -> str:
    """Say where in a file an error arose: at the innermost line of that file that was running."""
    lines = [number for frame, number in _walk(error.__traceback__) if frame.f_code.co_filename == file]
    return f"{file}, line {lines[-1]}" if lines else file


def _walk(traceback: TracebackType | None) -> list[tuple[FrameType, int]]:
    frames: list[tuple[FrameType, int]] = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
