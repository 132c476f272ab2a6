from __future__ import annotations

import signal
from pathlib import Path

from tuning.interruption import stop_on_request
from tuning.launch.rank import stop_where_nobody_watches
from tuning.launch.ranks import Ranks


def test_a_process_whose_supervisor_is_gone_asks_itself_to_stop(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, count=1)
    with ranks.watched():
        pass
    with stop_on_request() as request:
        request.waits = True
        stop_where_nobody_watches(ranks)
    assert request.signum == signal.SIGTERM
