"""Send a run's event log to its trackers: beside the training (`--follow`), or afterwards whatever is still missing.

python -m tuning.trackers.sync RUN_DIR
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.errors import EXIT_SUCCESS, EXIT_USER_ERROR
from tuning.trackers.file_lock import file_lock
from tuning.trackers.processes import start_with_order
from tuning.trackers.progress import incomplete, load_progress
from tuning.trackers.run_files import RunFiles
from tuning.trackers.run_watch import RunWatch
from tuning.trackers.sender import Sender

PATIENCE_SECONDS = 300.0
"""How long a backend may go without any progress after the run has ended before the sender gives it up."""

_POLL_SECONDS = 0.25
_LONGEST_STOP_SECONDS = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Send one run; 0 when everything has arrived."""
    args = _parser().parse_args(argv)
    files = RunFiles(args.run_dir.resolve())
    if not files.events.exists():
        print(
            f"{files.events}: no such file. Give the folder of a run, the one that holds 'tracking'.", file=sys.stderr
        )
        return EXIT_USER_ERROR
    options = json.loads(sys.stdin.readline() or "{}") if args.options_from_stdin else dict(args.option)
    with file_lock(files.sender_lock, wait=args.follow) as ours:
        if not ours:
            print(f"{args.run_dir}: the run's own sender is still at work; try again when it has ended.")
            return EXIT_USER_ERROR
        with contextlib.suppress(OSError):  # a full disk; the number only helps to stop this process
            files.sender_pid.write_text(str(os.getpid()))
        sender = Sender(files, args.follow, options, args.patience, _targets(args.tracker))
        complete = sender.run()
    print(summary(files, sender.trackers, sender.watch))
    return EXIT_SUCCESS if complete else EXIT_USER_ERROR


def set_aside(run_dir: Path) -> Path | None:
    """Rename the tracking folder of an earlier run to `tracking.1`, `.2`, … so that a new run can have its place.

    A sender still at work there is stopped; `tune sync` cannot send the rest from the new name.
    """
    files = RunFiles(run_dir.resolve())
    if not files.folder.exists():
        return None
    _stop_sender(files)
    number = next(number for number in itertools.count(1) if not Path(f"{files.folder}.{number}").exists())
    return files.folder.rename(f"{files.folder}.{number}")


def _stop_sender(files: RunFiles) -> None:
    until = time.monotonic() + _LONGEST_STOP_SECONDS
    while time.monotonic() < until:
        with file_lock(files.sender_lock, wait=False) as free:
            if free:
                return
        # The lock is held, so its holder lives and this is its number.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(files.sender_pid.read_text()), signal.SIGTERM)
        time.sleep(_POLL_SECONDS)


def _targets(trackers: Sequence[str]) -> dict[str, str]:
    if not trackers:
        return {}
    from tuning.trackers.tracker_factory import target_of

    return {name: target_of(name) for name in trackers}


def summary(files: RunFiles, trackers: Sequence[str], watch: RunWatch) -> str:
    """Say in one line per backend what has arrived there."""
    missing = incomplete(files, trackers, watch.seq, 0 if watch.end is None else watch.end["seq"])
    lines = [f"{files.run_dir}: {watch.seq} records, state {watch.end['state'] if watch.end else 'running'}"]
    for name in trackers:
        progress = load_progress(files, name)
        arrived = "complete" if name not in missing else f"{progress.seq} of {watch.seq} records"
        trouble = f" ({progress.error})" if progress.error and name in missing else ""
        left = f", {len(progress.left)} artifacts to be sent" if progress.left else ""
        refused = f", {progress.refused} values refused" if progress.refused else ""
        lines.append(f"  {name}: {arrived}{left}{refused}{trouble}")
    return "\n".join(lines)


def start_sender(files: RunFiles, options: Mapping[str, Any], patience: float) -> subprocess.Popen[bytes]:
    """Start the sender beside the training, in a session of its own so that it outlives the trainer."""
    command = [sys.executable, "-m", "tuning.trackers.sync", str(files.run_dir), "--follow", "--options-from-stdin"]
    return start_with_order([*command, "--patience", str(patience)], options, files.sender_log)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuning.trackers.sync", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="the folder of the run")
    parser.add_argument(
        "--tracker",
        action="append",
        default=[],
        metavar="NAME",
        help="send to this tracker too, though the run was started without it",
    )
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_pair,
        metavar="KEY=VALUE",
        help="replace a key of the tracking section, such as an address whose password the log does not hold",
    )
    parser.add_argument("--options-from-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help="give up a tracker that makes no progress for so long after the run's end (default: %(default)s)",
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
