"""Put the sections of a run together to `report.html`, one file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

from tuning.errors import UserError
from tuning.report import origins, results
from tuning.report.data import RunReport, load_report
from tuning.whole_files import write_whole

REPORT_FILE = "report.html"
_HERE = Path(__file__).parent
_SECTIONS = (
    results.curves,
    results.evaluation,
    results.predictions,
    origins.recommendations,
    origins.configuration,
    origins.data,
    origins.links,
    origins.environment,
    origins.origin,
)


def write_report(folder: Path, file: Path | None = None) -> Path:
    """Write the report of a run, into its folder unless another file is given; returns the file.

    Raises:
        UserError: it is no run folder, or the file cannot be written.
    """
    return write_page(report_page(load_report(folder)), folder / REPORT_FILE if file is None else file)


def report_page(report: RunReport) -> str:
    """Write the page of a run."""
    parts = [part for make in _SECTIONS if (part := make(report))]
    body = "".join([results.overview(report), *parts, f'<footer class="card">{results.all_series(report)}</footer>'])
    return page(report.run.name, body)


def page(title: str, body: str) -> str:
    """Put a body into a page that may load nothing, not even from this machine, and runs only the script in it."""
    style, script = _text("page.css"), _text("page.js")
    allowed = f"img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><main>{body}</main><script>{script}</script></body></html>\n"
    )


def write_page(text: str, file: Path) -> Path:
    """Write a page so that nobody ever reads half of it; returns the file.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        write_whole(file, text, "replace")
    except OSError as error:
        raise UserError(f"'{file}' cannot be written: {error.strerror or error}. Give another file.") from error
    return file


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8").strip()


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
