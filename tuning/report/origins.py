"""The sections of a run's page that tell what it was made from: choices, data, machine, attempts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuning.config.ir import DEFAULT, leaves
from tuning.report.data import RunReport
from tuning.report.elements import (
    duration_text,
    folded,
    mapping,
    mappings,
    pairs,
    paragraph,
    section,
    table,
    time_text,
)

_MOST_PLACES = 5


def recommendations(report: RunReport) -> str:
    """Show what was recommended, and why; and what was left alone because the user had decided."""
    rows = [
        (path, value, found.get("comment"), found.get("source"), found.get("action"))
        for found in report.recommendations
        for path, value in leaves(mapping(found.get("patch")))
    ]
    kept = [
        (one.get("path"), one.get("user"), one.get("suggested"), one.get("because"))
        for found in report.recommendations
        for one in mappings(found.get("declined"))
    ]
    replaced = [
        (one.get("path"), one.get("user"), one.get("now"), one.get("because"))
        for found in report.recommendations
        for one in mappings(found.get("overridden"))
    ]
    return section(
        "recommendations",
        "Recommendations",
        table(("field", "value", "why", "source", "rule"), rows, "wide"),
        folded(f"Yours, and kept ({len(kept)})", table(("field", "yours", "suggested", "why"), kept, "wide")),
        folded(
            f"Replaced, or the run would crash ({len(replaced)})", table(("field", "yours", "now", "why"), replaced)
        ),
    )


def configuration(report: RunReport) -> str:
    """Show each value and where it came from; what nobody chose is folded away."""
    rows = [(path, value, mapping(report.run.sources).get(path)) for path, value in leaves(mapping(report.run.config))]
    chosen = [row for row in rows if row[2] != DEFAULT]
    defaults = [row for row in rows if row[2] == DEFAULT and row[1] is not None]
    head = ("field", "value", "source")
    rest = folded(f"Defaults ({len(defaults)})", table(head, defaults))
    return section("configuration", "Configuration", table(head, chosen), rest)


def data(report: RunReport) -> str:
    """Show what the audit counted and found, and the fingerprints of the data."""
    splits = {"training": report.audit.get("train"), "held out": report.audit.get("validation")}
    counts = table(
        ("rows", "count", "sequences", "tokens", "trained on", "longest", "median"),
        [_counts(name, found) for name, found in splits.items() if isinstance(found, dict)],
    )
    findings = mappings(report.audit.get("findings"))
    found = [(one.get("level"), one.get("split"), one.get("count"), _finding(one)) for one in findings]
    told = table(("level", "set", "rows", "what was found"), found, "wide")
    clean = paragraph("The audit found nothing to remark.", "quiet") if report.audit and not findings else ""
    files = [
        (name, one.get("path"), one.get("rows"), one.get("bytes"), one.get("sha256")) for name, one in _data(report)
    ]
    return section(
        "data", "Data", counts, told, clean, table(("set", "path", "rows", "bytes", "SHA-256"), files, "wide")
    )


def links(report: RunReport) -> str:
    """Show where trackers show the run; the addresses are text, because a page from elsewhere has no link to trust."""
    rows = [
        (name, mapping(one).get("run_id"), mapping(one).get("url") or mapping(one).get("open_with"))
        for name, one in report.run.links.items()
    ]
    return section("links", "Trackers", table(("tracker", "run", "open"), rows, "wide"))


def environment(report: RunReport) -> str:
    """Show the machine, the versions and the code."""
    found = mapping(report.manifest.get("environment"))
    git, hardware = mapping(found.get("git")), mapping(found.get("hardware"))
    commit = f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}" if git.get("commit") else None
    facts = [("command", " ".join(map(str, found.get("argv") or []))), ("folder", found.get("working_directory"))]
    facts += [("commit", commit), ("branch", git.get("branch")), ("python", found.get("python"))]
    facts += [("platform", found.get("platform")), ("host", found.get("host"))]
    facts += [(name.replace("_", " "), value) for name, value in hardware.items()]
    packages = folded("Packages", table(("package", "version"), mapping(found.get("packages")).items()))
    return section("environment", "Environment", pairs(facts), packages)


def origin(report: RunReport) -> str:
    """Show the attempts, the digests by which the run can be told from others, and how to run it again."""
    attempts = [
        (number, one["state"], time_text(one["began"]), _lasted(one), one.get("error"))
        for number, one in enumerate(report.attempts, start=1)
    ]
    model, weights = mapping(report.manifest.get("model")), mapping(report.manifest.get("weights"))
    facts = [("base model", model.get("path") or model.get("name")), ("its SHA-256", model.get("sha256"))]
    facts += [("tuned weights", weights.get("folder")), ("their SHA-256", weights.get("sha256"))]
    facts += [(name, value) for name, value in mapping(report.manifest.get("seeds")).items()]
    again = [("run it again", f"tune reproduce {report.run.folder}")] if report.manifest else []
    head = ("attempt", "state", "began", "lasted", "error")
    return section("origin", "Attempts and origin", table(head, attempts), pairs([*facts, *again]))


def _counts(name: str, found: Mapping[str, Any]) -> tuple[Any, ...]:
    lengths, share = mapping(found.get("lengths")), found.get("supervised_share")
    share = f"{share:.0%}" if isinstance(share, float) else None
    known = (found.get(key) for key in ("rows", "sequences", "tokens"))
    return (name, *known, share, lengths.get("max"), lengths.get("p50"))


def _finding(found: Mapping[str, Any]) -> str:
    places = ", ".join(str(place) for place in (found.get("places") or ())[:_MOST_PLACES])
    told = f"{found.get('code')}: these rows {found.get('what')}. {found.get('to_do')}"
    return f"{told} First: {places}" if places else told


def _data(report: RunReport) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, split in mapping(report.manifest.get("data")).items():
        yield from ((name, one) for one in mappings(mapping(split).get("files")) or [mapping(split)])


def _lasted(attempt: Mapping[str, Any]) -> str:
    return duration_text(None if attempt["ended"] is None else attempt["ended"] - attempt["began"])
