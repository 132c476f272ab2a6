"""One process of a launched run: `python -m tuning.launch.rank FILE FOLDER`, as `tune RECIPE --nproc` starts it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tuning.errors import EXIT_PREEMPTED, EXIT_SUCCESS
from tuning.interruption import exit_on_request
from tuning.launch.ranks import Ranks
from tuning.world import rank

_SECONDS_FOR_THE_FIRST = 10.0


def main(argv: Sequence[str]) -> int:
    """Run the decided run of a file, and leave how it went in a folder; returns what the launcher is to know."""
    file, folder = map(Path, argv)
    here = Ranks(folder, count=1)
    here.leave_id(rank())
    exit_on_request()  # from here on a signal may come while all that follows is imported
    threading.Thread(target=stop_where_nobody_watches, args=[here], daemon=True).start()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # as `tune` does
    from tuning.ending import ended
    from tuning.launch.decided import read_decided
    from tuning.recipes import load_recipe

    decided = read_decided(file)
    sys.argv[:] = decided.argv  # the words of the user, which the run's record holds
    code = ended(lambda: load_recipe(decided.recipe).run(decided.job))
    here.leave_code(rank(), code)
    if code in (EXIT_SUCCESS, EXIT_PREEMPTED):
        return EXIT_SUCCESS  # a launcher would end the other processes, which may still be closing their trackers
    if rank() != 0:
        here.await_first(_SECONDS_FOR_THE_FIRST)  # it has the message
    return code


def stop_where_nobody_watches(ranks: Ranks) -> None:
    """Ask this process to stop when the supervisor is gone: the run may be started anew in the same folder."""
    ranks.await_nobody_watching()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
