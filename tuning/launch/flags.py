"""The flags that start a recipe in processes of its own: how many, on which machine of how many, how often anew."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuning.config.ir import IR
from tuning.errors import UserError

LAUNCH_FLAGS = {
    "--nproc": "a number",
    "--nnodes": "a number",
    "--node_rank": "a number",
    "--master_addr": "a host",
    "--master_port": "a number",
    "--max_restarts": "a number",
}
"""Each flag, and what stands after it."""
_SEVERAL_MACHINES = ("--node_rank", "--master_addr", "--master_port")
_PORT = 29500
"""Source: torchrun's and accelerate's default."""


@dataclass(frozen=True)
class Launch:
    """What the flags say. `nproc` counts the processes of one machine; None: as the configuration says."""

    nproc: int | None = None
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str | None = None
    master_port: int | None = None
    max_restarts: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Launch:
        """Read the flags.

        Raises:
            UserError: one is no number, or they contradict each other.
        """
        asked = cls(
            nproc=_number(given, "--nproc", 1) if "--nproc" in given else None,
            nnodes=_number(given, "--nnodes", 1, 1),
            node_rank=_number(given, "--node_rank", 0, 0),
            master_addr=given.get("--master_addr"),
            master_port=_number(given, "--master_port", 1) if "--master_port" in given else None,
            max_restarts=_number(given, "--max_restarts", 0, 0),
        )
        if asked.nnodes > 1 and (asked.nproc is None or asked.master_addr is None or "--node_rank" not in given):
            raise UserError(
                "--nnodes: several machines need --nproc, --node_rank and --master_addr, too, on each of them"
            )
        if asked.nnodes == 1 and (needless := next((flag for flag in _SEVERAL_MACHINES if flag in given), None)):
            raise UserError(f"{needless}: it says how several machines meet; give --nnodes, too, or leave it out")
        if asked.node_rank >= asked.nnodes:
            raise UserError(f"--node_rank: expected a number below --nnodes, {asked.nnodes}, got {asked.node_rank}")
        return asked

    def check_environment(self) -> None:
        """Refuse to launch from inside a launcher.

        Raises:
            UserError: a launcher has started this process.
        """
        if "WORLD_SIZE" in os.environ:
            raise UserError("--nproc: a launcher has started this process already; leave --nproc out")

    def check_machines(self, document: IR) -> None:
        """Refuse a configuration for several machines where the flags do not say which of them this one is.

        Raises:
            UserError: they do not.
        """
        from tuning.recommender.adapters.launch import num_machines

        if self.nnodes == 1 and num_machines(document) > 1:
            told = f"the configuration is for {num_machines(document)} machines"
            raise UserError(f"--nnodes: {told}; give --nnodes, --node_rank and --master_addr on each of them")

    def settings(self) -> Iterator[str]:
        """Yield what the flags say as settings of the configuration."""
        if self.nproc is not None:
            yield f"compute.num_processes={self.nproc * self.nnodes}"
        if self.nnodes > 1:
            yield f"compute.num_nodes={self.nnodes}"
            yield f"accelerate.machine_rank={self.node_rank}"
            yield f"accelerate.main_process_ip={self.master_addr}"
            yield f"accelerate.main_process_port={self.master_port or _PORT}"

    def num_ranks_here(self, document: IR) -> int:
        """Return the processes of the run on this machine."""
        from tuning.recommender.adapters.launch import num_machines, num_processes

        return num_processes(document) // num_machines(document)


def _number(given: Mapping[str, str], flag: str, least: int, default: int = 0) -> int:
    text = given.get(flag, str(default))
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{flag}: expected a whole number, at least {least}, got {text!r}")
    return int(text)
