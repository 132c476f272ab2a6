"""accelerate's configuration file: how many processes, and how the model is spread over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.adapters.launch import launch_command, mixed_precision, num_machines, num_processes
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing
from tuning.recommender.adapters.native import CONFIG_FILE
from tuning.recommender.adapters.table_adapter import TableAdapter

ACCELERATE_FILE = "accelerate.yaml"
KEYS = frozenset(
    {
        *(
            "command_file",
            "commands",
            "compute_environment",
            "debug",
            "deepspeed_config",
            "distributed_type",
            "downcast_bf16",
            "dynamo_config",
            "enable_cpu_affinity",
            "fp8_config",
            "fsdp_config",
            "gpu_ids",
            "machine_rank",
            "main_process_ip",
            "main_process_port",
            "main_training_function",
            "megatron_lm_config",
            "mixed_precision",
            "mpirun_config",
            "num_machines",
            "num_processes",
            "parallelism_config",
            "rdzv_backend",
            "same_network",
            "tpu_env",
            "tpu_name",
            "tpu_use_cluster",
            "tpu_use_sudo",
            "tpu_vm",
            "tpu_zone",
            "use_cpu",
        )
    }
)
"""Every key that accelerate's loader takes; it refuses a file with any other."""
OLD_KEYS = frozenset({"dynamo_backend", "fp16"})
"""Keys that it still reads, and turns into others. Source: `BaseConfig.process_config` of accelerate 1.x."""
DISTRIBUTED_TYPES = frozenset(
    {
        *(
            "NO",
            "MULTI_CPU",
            "MULTI_GPU",
            "MULTI_NPU",
            "MULTI_MLU",
            "MULTI_SDAA",
            "MULTI_MUSA",
            "MULTI_XPU",
            "MULTI_HPU",
            "MULTI_NEURON",
            "DEEPSPEED",
            "FSDP",
            "XLA",
            "MEGATRON_LM",
        )
    }
)
_PRECISION = {"no": (False, False), "bf16": (True, False), "fp16": (False, True)}
"""accelerate's word -> bf16, fp16."""
_OBJECTS = frozenset(key for key in KEYS if key.endswith("_config"))


def _count(value: Any) -> Any:
    if value == -1 or (isinstance(value, str) and value.strip().startswith("$")):
        raise NotSayable("is decided when the run is launched")
    return value


class AccelerateAdapter(TableAdapter):
    """What accelerate launches; everything that has no field of its own stays in the object `accelerate`."""

    name = "accelerate"
    title = "accelerate's file"
    file_name = ACCELERATE_FILE
    rows = (
        Row("num_processes", "compute.num_processes", _count, note="over all machines"),
        Row("num_machines", "compute.num_nodes", _count),
        Row("use_cpu", "training.use_cpu"),
    )
    not_written: Mapping[str, str] = {
        "compute.num_gpus_per_node": "accelerate counts processes over all machines: num_processes holds it"
    }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether the document says how processes are started."""
        return "distributed_type" in document or {"compute_environment", "num_machines"} <= document.keys()

    def read_first(self, reading: Reading) -> None:
        """Read the precision, and keep every key that has no field here in the open object."""
        _read_precision(reading)
        kind = reading.get("distributed_type")
        if kind is not None and str(kind) not in DISTRIBUTED_TYPES:
            reading.refuse("distributed_type", kind, f"expected one of: {', '.join(sorted(DISTRIBUTED_TYPES))}")
        mapped = {row.key for row in self.rows}
        for key in [key for key in reading.left if key in KEYS - mapped]:
            value = reading.left.pop(key)
            if key in _OBJECTS and not isinstance(value, (Mapping, type(None))):
                reading.refuse(key, value, "expected an object")
            elif value is not None:
                reading.put(f"accelerate.{key}", value, key)

    def write_first(self, writing: Writing) -> None:
        """Write the open object, the precision, and what accelerate's loader or launcher cannot do without."""
        ir, document = writing.ir, dict(writing.take("accelerate") or {})
        for key in [key for key in document if key not in KEYS]:
            writing.skip(f"accelerate.{key}", document.pop(key), "accelerate's loader knows no such key")
        several = num_processes(ir) > 1
        needed = {
            "distributed_type": "MULTI_GPU" if several else "NO",
            "num_processes": num_processes(ir),
            "num_machines": num_machines(ir),
        }
        writing.document = {**needed, **{key: value for key, value in document.items() if value is not None}}
        word = mixed_precision(ir)
        if word is not None:
            writing.document["mixed_precision"] = word
        if word in _PRECISION:
            writing.take("training.bf16")
            writing.take("training.fp16")

    def launch_command(self, ir: IR) -> list[str]:
        """Start our trainer with this file."""
        return launch_command(ir, CONFIG_FILE, ACCELERATE_FILE)


def _read_precision(reading: Reading) -> None:
    """Read one word as two fields; what the trainer has no field for, such as fp8, stays accelerate's."""
    old, word = reading.take("fp16"), reading.get("mixed_precision")
    word = ("fp16" if old is True else None) if word is None else "no" if word is False else word
    if isinstance(word, str) and word in _PRECISION:
        reading.take("mixed_precision")
        for name, value in zip(("bf16", "fp16"), _PRECISION[word], strict=True):
            reading.put(f"training.{name}", value, "mixed_precision")
    elif word not in (None, "fp8"):
        reading.refuse("mixed_precision", word, "expected one of: no, fp16, bf16, fp8")
