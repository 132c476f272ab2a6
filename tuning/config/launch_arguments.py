"""fms-hf-tuning's block `accelerate_launch_args`: flags of accelerate's launcher, as keys of accelerate's own file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LAUNCH_ARGUMENTS = "accelerate_launch_args"
FSDP_SWITCH = "FSDP"
"""A field that turns FSDP on, as `use_fsdp` does among the launcher's flags."""

_PLAIN = frozenset(
    {
        *("config_file", "debug", "downcast_bf16", "enable_cpu_affinity", "gpu_ids", "machine_rank", "main_process_ip"),
        *("main_process_port", "main_training_function", "mixed_precision", "num_machines", "num_processes"),
        *("rdzv_backend", "same_network", "use_cpu"),
    }
)
"""Flags that have the same name in the file, and the one that names a file, whose settings are read from there."""
_DISTRIBUTED_TYPES = {"multi_gpu": "MULTI_GPU", "use_deepspeed": "DEEPSPEED", "use_fsdp": "FSDP"}
_DEEPSPEED = frozenset(
    {
        *("gradient_accumulation_steps", "gradient_clipping", "offload_optimizer_device", "offload_param_device"),
        *("offload_optimizer_nvme_path", "offload_param_nvme_path", "zero3_init_flag", "zero3_save_16bit_model"),
        *("zero_stage", "deepspeed_config_file", "deepspeed_hostfile", "deepspeed_moe_layer_cls_names"),
        *("deepspeed_multinode_launcher",),
    }
)
_PREFIXES = {
    "dynamo_": "dynamo_config",
    "fp8_": "fp8_config",
    "fsdp_": "fsdp_config",
    "parallelism_config_": "parallelism_config",
}
"""Start of a flag -> the object in the file that holds it, under the same name."""


def settings_of_launch_arguments(block: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Yield each flag with the path of its field and its value; a flag that the file has no key for has no path."""
    for name, value in block.items():
        if name in _DISTRIBUTED_TYPES:
            if value is not False:
                yield name, "accelerate.distributed_type", _DISTRIBUTED_TYPES[name] if value is True else value
        else:
            yield name, _path(str(name)), value


def _path(name: str) -> str | None:
    if name in _PLAIN:
        return f"accelerate.{name}"
    if name == "cpu":
        return "accelerate.use_cpu"
    if name in _DEEPSPEED:
        return f"accelerate.deepspeed_config.{name}"
    for prefix, holder in _PREFIXES.items():
        if name.startswith(prefix):
            return f"accelerate.{holder}.{name}"
    return None
