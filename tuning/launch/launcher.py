"""accelerate's launcher without its traceback: what failed was told by the process that failed."""

from __future__ import annotations

import logging
import sys


def main() -> int:
    """Run `accelerate launch` with the words of the command line; returns 1 where a process failed."""
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        launch()
    except ChildFailedError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
