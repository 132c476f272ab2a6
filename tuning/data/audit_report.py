"""What follows from an audit: lines in the log, a file in the run folder, or no run at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.audit import Audit, audit
from tuning.data.audit_tokens import SpecialTokens
from tuning.data.encoding import Encoding
from tuning.data.finding import MOST_PLACES_TOLD
from tuning.data.prepared_key import lock_file
from tuning.data.rows import Rows
from tuning.errors import DataError
from tuning.whole_files import write_whole

if TYPE_CHECKING:
    from tuning.data.prepared import Prepared

logger = logging.getLogger(__name__)

AUDIT_FILE = "audit.json"


def audit_prepared(prepared: Prepared, encoding: Encoding, load_rows: Callable[[], Rows]) -> Audit:
    """Audit the tokenized rows of a run, once for all runs that take them up.

    `load_rows` reads the converted rows, where they are not at hand: their texts are looked at, too.
    """
    from filelock import FileLock

    kept = _kept(prepared.folder)
    if kept is not None:
        return kept
    try:
        with FileLock(lock_file(prepared.folder)):
            found = _kept(prepared.folder) or _audited(prepared, encoding, load_rows)
            write_audit(found, prepared.folder)
            return found
    except OSError:  # a folder that someone else keeps, and that is only read here
        return _audited(prepared, encoding, load_rows)


def _audited(prepared: Prepared, encoding: Encoding, load_rows: Callable[[], Rows]) -> Audit:
    rows = prepared.rows if prepared.rows is not None else load_rows()
    rows = replace(rows, skipped=prepared.skipped, num_read=prepared.num_read)
    tables = prepared.tables
    return audit(tables["train"], tables.get("validation"), special_tokens_of(encoding), rows)


def special_tokens_of(encoding: Encoding) -> SpecialTokens:
    """Find out what the audit has to know of a tokenizer and of the chat template."""
    names, encode = encoding.special_tokens, encoding.encoder().encode
    document = json.loads(encoding.tokenizer)
    if isinstance(document, dict):
        added = [token["id"] for token in document.get("added_tokens", [])]
    else:
        added = [ids[-1] for ids in encode(list(names.values()), False)]
    return SpecialTokens.of(encode, names["eos_token"], names.get("bos_token"), added, encoding.cutter().render_chat)


def tell_audit(found: Audit, mode: str) -> None:
    """Log each line once; where `mode`, the configuration's `data.audit`, is `fail`, warnings end the run.

    Raises:
        DataError: there are warnings that end the run; names them and the first rows of each.
    """
    refuse_warnings(found, mode)
    logger.info("audit of the rows to train on: %s", found.train)
    if found.validation is not None:
        logger.info("audit of the rows held out: %s", found.validation)
    for finding in found.findings:
        logger.log(logging.WARNING if finding.level == "warning" else logging.INFO, "audit: %s", finding)


def refuse_warnings(found: Audit, mode: str) -> None:
    """End the run for the warnings of an audit, where `mode`, the configuration's `data.audit`, is `fail`.

    Raises:
        DataError: names the warnings and the first rows of each.
    """
    if mode == "fail" and found.warnings:
        count = len(found.warnings)
        title = f"data.audit=fail: the audit found {count} {'fault' if count == 1 else 'faults'} in the rows"
        raise DataError("\n".join([title, *map(str, found.warnings), "With data.audit=warn the run goes on."]))


def audit_params(found: Audit) -> dict[str, Any]:
    """Return what trackers record of an audit; the file names all rows, this the first of each finding."""
    return found.to_dict(MOST_PLACES_TOLD)


def write_audit(found: Audit, folder: Path) -> Path:
    """Write an audit with all its places to a folder; returns the file."""
    file = folder / AUDIT_FILE
    write_whole(file, f"{json.dumps(found.to_dict(), indent=2, ensure_ascii=False)}\n")
    return file


def _kept(folder: Path) -> Audit | None:
    try:
        return Audit.from_dict(json.loads((folder / AUDIT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):  # none, or one that something damaged
        return None
