"""The faults: what breaks, when, how it is repaired, and the state that the run has to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import private_mounts

if TYPE_CHECKING:
    from benchmarks.fault_cell import Cell

_LOG_DISK_MIB = 8

Deed = Callable[["Cell"], object]


def _nothing(cell: Cell) -> None:
    return


def _start(cell: Cell) -> None:
    cell.store.start()


@dataclass(frozen=True)
class Fault:
    """Deeds at the moments of a run; `act` is how the trainer itself ends."""

    title: str
    at_start: Deed = _start
    at_first_pause: Deed = _nothing
    at_second_pause: Deed = _nothing
    repair: Deed = _nothing
    act: str = "finish"
    state: str = "finished"
    delivers_first: bool = True
    """The store has the first steps before anything breaks."""
    is_readable: bool = True
    """The store can be read while it is broken."""
    hurts: bool = True
    """Not all steps are in the store before the repair; where they are, nothing was broken."""
    servers_only: bool = False
    needs_mounts: bool = False


def _small_disk(cell: Cell) -> None:
    private_mounts.mount_small(cell.files.folder, _LOG_DISK_MIB)
    cell.store.start()


def _read_only(cell: Cell) -> None:
    # A server comes first: Aim's does not even start on a repository that it cannot write to.
    cell.store.start()
    private_mounts.mount_read_only(cell.store.folder)


def _writable_again(cell: Cell) -> None:
    cell.store.kill()
    private_mounts.mount_writable(cell.store.folder)
    cell.store.start()


def _fill(cell: Cell) -> None:
    private_mounts.fill(cell.files.folder)


def _make_room(cell: Cell) -> None:
    private_mounts.make_room(cell.files.folder)


FAULTS: dict[str, Fault] = {
    "none": Fault("none", hurts=False),
    "dead-at-start": Fault("dead at start", at_start=_nothing, repair=_start, delivers_first=False, servers_only=True),
    "killed": Fault("killed mid-run", at_first_pause=lambda cell: cell.store.kill(), repair=_start, servers_only=True),
    "frozen": Fault(
        "frozen mid-run",
        at_first_pause=lambda cell: cell.store.freeze(),
        repair=lambda cell: cell.store.thaw(),
        servers_only=True,
    ),
    "sender-killed": Fault("sender killed mid-run", at_first_pause=lambda cell: cell.break_sender()),
    "trainer-killed": Fault("trainer SIGKILLed", act="kill", state="killed", hurts=False),
    "trainer-raising": Fault("trainer raising", act="raise", state="failed", hurts=False),
    "disk-full-for-a-while": Fault(
        "disk full for the log, then freed",
        at_start=_small_disk,
        at_first_pause=_fill,
        at_second_pause=_make_room,
        hurts=False,
        needs_mounts=True,
    ),
    "disk-full": Fault(
        "disk full for the log to the end",
        at_start=_small_disk,
        at_first_pause=_fill,
        repair=_make_room,
        needs_mounts=True,
    ),
    "read-only": Fault(
        "read-only store",
        at_start=_read_only,
        repair=_writable_again,
        delivers_first=False,
        is_readable=False,
        needs_mounts=True,
    ),
}
