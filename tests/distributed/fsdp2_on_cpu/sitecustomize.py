"""Let accelerate make FSDP2 on CPUs, which it refuses to: for tests alone.

Python runs this at its start where its folder is on PYTHONPATH. accelerate calls several processes on CPUs MULTI_CPU,
and makes DDP of everything there; under the name of GPUs it does as it is told, with gloo and on the CPU all the same.
"""

from __future__ import annotations

import os
from typing import Any

if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    from accelerate.state import DistributedType, PartialState

    make_state = PartialState.__init__

    def make_state_of_gpus(self: Any, *args: Any, **kwargs: Any) -> None:
        make_state(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = make_state_of_gpus
