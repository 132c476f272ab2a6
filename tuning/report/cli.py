"""`tune report`: write the page of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tuning.errors import EXIT_SUCCESS
from tuning.report.page import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and say where it is; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tune report",
        description="Write one HTML file that shows a run: curves, choices and reasons, data, evaluation, origin.",
        epilog="example: tune report runs/first --output first.html",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="the folder of a run, whatever its state")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: RUN_DIR/report.html)")
    args = parser.parse_args(argv)
    print(write_report(args.run, args.output))
    return EXIT_SUCCESS


if __name__ == "__main__":
    sys.exit(main())
