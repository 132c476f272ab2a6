"""The one typed description of a run: its sections, those of Hugging Face included."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, create_model

from tuning.config.acceleration_fields import Acceleration
from tuning.config.control_fields import TrainerControl
from tuning.config.export_fields import Export
from tuning.config.field_texts import field_texts
from tuning.config.hf_fields import sft_config_fields
from tuning.config.section import Section
from tuning.config.sections import Compute, Data, Evaluation, Model, Peft, Quantization, Recommender, Tracking
from tuning.config.types import Count, Flag, Fraction, Integer, JsonObject, NotNegative, Positive, Text

REPORT_TO_IS_OURS = frozenset({"report_to", "run_name", "project"})
"""SFTConfig fields that choose where a run is reported; here the tracking section does that."""


class TuningConfig(Section):
    """A whole run, checked and frozen."""

    model: Model = Field(default_factory=Model)
    data: Data = Field(default_factory=Data)
    training: Training = Field(default_factory=lambda: Training())
    peft: Peft = Field(default_factory=Peft)
    quantization: Quantization = Field(default_factory=Quantization)
    acceleration: Acceleration = Field(default_factory=Acceleration)
    trainer_control: TrainerControl = Field(default_factory=TrainerControl)
    tracking: Tracking = Field(default_factory=Tracking)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    export: Export = Field(default_factory=Export)
    recommender: Recommender = Field(default_factory=Recommender)
    compute: Compute = Field(default_factory=Compute)
    accelerate: JsonObject = Field(default_factory=dict)
    """Configuration of accelerate, by the keys of its own file: distributed_type, fsdp_config … None: as launched."""
    metadata: JsonObject = Field(default_factory=dict)
    """Anything about the experiment that you want to find again: logged as run params under `metadata`."""

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Describe the document as JSON schema; flat field names are allowed beside the sections."""
        return flat_json_schema(cls)


def _training_fields() -> type[Section]:
    """Make the base of the training section: every field of the installed `SFTConfig` that no other section holds."""
    elsewhere = {
        name for section in (Model, Data, Tracking, Evaluation) for name in section.model_fields
    } | REPORT_TO_IS_OURS
    fields: dict[str, Any] = {
        name: (found.annotation | None if found.annotation is not Any else Any, Field(None, description=found.help))
        for name, found in sft_config_fields().items()
        if name not in elsewhere
    }
    return create_model("SFTConfigFields", __base__=Section, **fields)


SFTConfigFields: type[Section] = _training_fields()


class Training(SFTConfigFields):
    """How it is trained: every field of TRL's SFTConfig, and a few of ours."""

    output_dir: Text | None = None
    """Run folder: checkpoints, config, event log. Required."""
    save_model_dir: Text | None = None
    """Folder for the final model. None: model in the run folder."""
    resume_from_checkpoint: Flag | str | None = None
    """true or None: go on from the newest complete checkpoint, if any; false: start anew; or a checkpoint's folder."""
    learning_rate: Positive | None = None
    """Peak learning rate of the optimizer. None: chosen by the recommender for the method and the model's size."""
    num_train_epochs: Positive | None = None
    """Passes over the training rows. None: chosen by the recommender for the number of rows."""
    max_steps: Integer | None = None
    """Optimizer steps to stop after; overrides num_train_epochs. None or -1: by epochs."""
    max_length: Count | None = None
    """Longest sequence, tokens; the rest of a row is cut off. None: chosen by the recommender from the rows."""
    per_device_train_batch_size: Count | None = None
    """Rows per device and forward pass. None: chosen by the recommender."""
    per_device_eval_batch_size: Count | None = None
    """Rows per device and forward pass in evaluation. None: chosen by the recommender."""
    gradient_accumulation_steps: Count | None = None
    """Forward passes per optimizer step. None: chosen by the recommender."""
    warmup_steps: NotNegative | None = None
    """Steps from 0 to the peak learning rate; below 1: a share of all steps. None: chosen by the recommender."""
    weight_decay: NotNegative | None = None
    """Decoupled weight decay of AdamW. None: chosen by the recommender."""
    adam_beta1: Fraction | None = None
    """Decay of AdamW's mean of gradients, 0 to 1."""
    adam_beta2: Fraction | None = None
    """Decay of AdamW's mean of squared gradients, 0 to 1."""
    adam_epsilon: Positive | None = None
    """Term that keeps AdamW's division finite."""
    max_grad_norm: NotNegative | None = None
    """Clip gradients to this norm; 0 turns it off."""
    label_smoothing_factor: Fraction | None = None
    """Share of the target that is spread over all tokens, 0 to 1."""
    logging_steps: Positive | None = None
    """Steps between two log lines; below 1: a share of all steps. None: chosen by the recommender."""
    eval_steps: Positive | None = None
    """Steps between two evaluations; below 1: a share of all steps. None: chosen by the recommender."""
    save_steps: Positive | None = None
    """Steps between two checkpoints; below 1: a share of all steps. None: chosen by the recommender."""
    save_total_limit: Count | None = None
    """Checkpoints to keep; older ones are deleted. None: chosen by the recommender."""
    seed: Annotated[Integer, Field(ge=0, le=4294967295)] | None = None
    """Seed of everything random, 0 to 2^32 - 1."""
    dataloader_num_workers: Annotated[Integer, Field(ge=0)] | None = None
    """Processes that load batches; 0: the training process itself."""
    neftune_noise_alpha: NotNegative | None = None
    """Strength of NEFTune's embedding noise. None: none."""
    eval_delay: NotNegative | None = None
    """Epochs or steps before the first evaluation."""


TuningConfig.model_rebuild()


@functools.cache
def sections() -> Mapping[str, type[Section]]:
    """Map each section's name to its class."""
    return {
        name: field.annotation
        for name, field in TuningConfig.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def flat_json_schema(config: type[TuningConfig]) -> dict[str, Any]:
    """Describe the document for editors: each field in its section, and again by its flat name."""
    schema = config.model_json_schema()
    for (section, field), text in field_texts().items():
        described = schema if section == config.__name__ else schema["$defs"].get(section, {})
        if field in described.get("properties", {}):
            described["properties"][field]["description"] = text
    for section in sections().values():
        schema["properties"] |= schema["$defs"][section.__name__]["properties"]
    schema["properties"] = _other_keys() | schema["properties"]
    schema["patternProperties"] = {r"\.": {}}  # a key may be the whole path of a field, or of a place in one
    schema["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _other_keys() -> dict[str, dict[str, str]]:
    """Describe the keys that are read and are no fields: names of older releases, and those of a run's own record."""
    from tuning.config.autotuning_names import AUTOTUNING
    from tuning.config.names import (
        ALIASES,
        FLAGS,
        FSDP_SWITCH,
        LAUNCH_ARGUMENTS,
        RETIRED,
    )  # they are made of what stands here

    described = {name: f"Another name of {alias.name}." for name, alias in ALIASES.items()}
    described |= {name: f"Changes nothing: {reason}." for name, reason in RETIRED.items()}
    described |= {name: f"Flags of fms-acceleration for {path}." for name, (path, _) in FLAGS.items()}
    described |= {name: f"AutoTuning's name of {path}." for name, path in AUTOTUNING.items()}
    described[FSDP_SWITCH] = "Whether the model is sharded by FSDP."
    described[LAUNCH_ARGUMENTS] = "Flags of accelerate's launcher, as fms-hf-tuning has them."
    described |= dict.fromkeys(("values", "sources"), "Part of the config.json that a run has written.")
    return {name: {"description": text} for name, text in described.items()}
