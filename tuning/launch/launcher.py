"""accelerate's launcher without its traceback: what failed was told by the process that failed."""

from __future__ import annotations

import logging
import os
import signal
import sys

from tuning.interruption import SIGNALS


def main() -> int:
    """Run `accelerate launch` with the words of the command line; returns 1 where a process failed."""
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    _leave_stops_to_the_ranks()
    try:
        launch()
    except ChildFailedError:
        return 1
    return 0


def _leave_stops_to_the_ranks() -> None:
    """Do nothing at a request to stop, which the supervisor passes on to the processes of the run.

    torch's launcher would end them, and give them 30 seconds; a checkpoint may take longer. It is no `SIG_IGN`, which
    they would inherit.
    """
    os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGHUP,SIGQUIT"
    for signum in SIGNALS:
        signal.signal(signum, lambda number, frame: None)


if __name__ == "__main__":
    sys.exit(main())
