"""How a command ends whose work may run for hours: one message, and the exit code that belongs to it."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable

from tuning import console
from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_SUCCESS, DiskFullError, Preempted, UserError, first_line
from tuning.full_disk import full_disk
from tuning.interruption import stop_on_request, take_no_more_signals

logger = logging.getLogger("tuning")


def ended(job: Callable[[], object]) -> int:
    """Do a job with a log, and end it with one message and an exit code: the job's own where it returns one."""
    try:
        with stop_on_request():
            console.set_up_logging()
            try:
                result = job()
            finally:
                atexit.register(take_no_more_signals)  # now, so that it comes before what libraries do at the exit
    except (UserError, DiskFullError, Preempted) as error:
        return console.end(error.exit_code, str(error))
    except Exception as error:
        if reason := full_disk(error):
            told = f"the disk is full: {reason}: {first_line(error)}. Make room, and run the same command again"
            return console.end(EXIT_INTERNAL_ERROR, told)
        logger.exception("internal fault")
        return console.end(EXIT_INTERNAL_ERROR, f"{type(error).__name__}: {first_line(error)}")
    return result if type(result) is int else EXIT_SUCCESS
