"""What the processes of a run do together beside training: agree, wait for the first one, and part."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tuning.config.ir import IR
from tuning.errors import UserError
from tuning.world import world_size

_PATIENCE = timedelta(days=30)
"""Longest wait for what the first process does alone; a process that dies ends the wait of the others at once."""
_OF_ONE_MACHINE = ("accelerate.machine_rank",)


def check_agreement(document: IR) -> None:
    """Refuse to train where the processes were given, or have recommended, different configurations.

    Raises:
        UserError: they differ.
    """
    if world_size() == 1:
        return
    from torch import distributed

    for path in _OF_ONE_MACHINE:
        document = document.without(path)
    found: list[str] = [""] * world_size()
    distributed.all_gather_object(found, _digest(document))
    if len(set(found)) > 1:
        told = f"the {world_size()} processes of this run have {len(set(found))} different configurations"
        raise UserError(f"{told}; complete it once (tune recommend), and give the same file to all of them")


@contextlib.contextmanager
def others_wait() -> Iterator[None]:
    """Let the first process work alone as long as it takes; the others wait without the time-out of a collective."""
    if world_size() == 1:
        yield
        return
    from torch import distributed

    group: Any = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    yield
    distributed.barrier(group=group)
    distributed.destroy_process_group(group)


def part() -> None:
    """Close the connections between the processes; a process that ends with them open makes noise, or hangs."""
    if world_size() == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _digest(document: IR) -> str:
    return hashlib.sha256(json.dumps(document.values, sort_keys=True, default=str).encode()).hexdigest()
