"""The rules, in the order in which they run: each may build on what the ones before it decided."""

from __future__ import annotations

from tuning.recommender.action import Action
from tuning.registry import Registry

_BUILTIN = {
    "PeftMethod": "method",
    "DataFormat": "data_format",
    "ChatTemplate": "template",
    "EosToken": "template",
    "PadToken": "template",
    "BosToken": "template",
    "ResponseTemplate": "masking",
    "LossMask": "masking",
    "MixedPrecision": "precision",
    "Attention": "attention",
    "LoraTargetModules": "lora",
    "LoraAlpha": "lora",
    "LoraDropout": "lora",
    "ValidationSplit": "rows",
    "Epochs": "rows",
    "LoraRank": "lora",
    "Distribution": "distribution",
    "RankFromRuns": "from_runs",
    "WeightsDtype": "precision",
    "Quantization": "quantization",
    "ExpertAdapters": "moe",
    "ExpertsImplementation": "moe",
    "RouterAuxLoss": "moe",
    "Packing": "packing",
    "MaxLength": "rows",
    "PaddingFree": "crashes",
    "PaddingFreePlugin": "acceleration",
    "FusedOpsPlugin": "acceleration",
    "GradientCheckpointing": "batch",
    "BatchSize": "batch",
    "GradientAccumulation": "batch",
    "EvalBatchSize": "batch",
    "PinMemory": "batch",
    "LigerKernel": "kernels",
    "Sampling": "rows",
    "LearningRate": "optimizer",
    "LearningRateFromRuns": "from_runs",
    "Scheduler": "optimizer",
    "Warmup": "optimizer",
    "Optimizer": "optimizer",
    "WeightDecay": "optimizer",
    "Logging": "cadence",
    "Evaluation": "cadence",
    "Saving": "cadence",
    "CheckpointsKept": "cadence",
    "PositionTable": "crashes",
    "BestModelCadence": "crashes",
    "BestCheckpointMetric": "crashes",
    "SchedulerWithoutEvaluation": "crashes",
    "LoaderProcesses": "crashes",
    "SelectiveCheckpointing": "crashes",
    "AssistantOnlyLoss": "crashes",
    "OutputAdapter": "crashes",
    "RouterLoss": "crashes",
    "Bf16OnCpu": "device_crashes",
    "Fp16Weights": "device_crashes",
    "Tf32": "device_crashes",
    "AttentionKernel": "device_crashes",
    "ActivationOffloading": "device_crashes",
}

ACTIONS: Registry[type[Action]] = Registry(
    "action", {name: f"{__name__}.{module}:{name}" for name, module in _BUILTIN.items()}, "tuning.actions"
)
"""Every rule by name: the built-in ones, and those that packages add under the entry point group `tuning.actions`."""


def load_actions() -> list[Action]:
    """Make one of each registered action: the built-in ones in their order, then the added ones by name."""
    added = [name for name in ACTIONS.names() if name not in _BUILTIN]
    return [ACTIONS.load(name)() for name in (*_BUILTIN, *added)]
