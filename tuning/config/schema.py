"""The one typed description of a run: sections, fields, ranges and help texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from tuning.config.field_texts import field_texts
from tuning.config.hf_fields import sft_config_fields
from tuning.config.types import (
    Count,
    Flag,
    Fraction,
    Integer,
    JsonObject,
    Modules,
    Names,
    NotNegative,
    Paths,
    Port,
    Positive,
    Text,
    Trackers,
    Unescaped,
)

REPORT_TO_IS_OURS = frozenset({"report_to", "run_name", "project"})
"""SFTConfig fields that choose where a run is reported; here the tracking section does that."""


class Section(BaseModel):
    """A group of fields; `None` means undecided: recommended where an action knows how, else Hugging Face's default."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        validate_default=False,
        protected_namespaces=(),
        defer_build=True,
    )


class Model(Section):
    """The model and the tokenizer."""

    model_name_or_path: Text | None = None
    """Folder or Hub id of the model to tune. Required."""
    tokenizer_name_or_path: Text | None = None
    """Folder or Hub id of the tokenizer. None: the model's."""
    revision: str | None = None
    """Branch, tag or commit on the Hub. None: main."""
    cache_dir: str | None = None
    """Folder where files from the Hub are kept. None: Hugging Face's cache."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] | None = None
    """Type that the weights are loaded in. None: chosen by the recommender for the device and the method."""
    attn_implementation: str | None = None
    """Attention kernel: eager, sdpa, flash_attention_2 … None: transformers' choice."""
    experts_implementation: Literal["eager", "grouped_mm", "batched_mm", "deepgemm", "sonicmoe"] | None = None
    """How the experts of a mixture are multiplied. None: chosen by the recommender, else transformers' choice."""
    use_flash_attn: Flag | None = None
    """true: flash_attention_2, or sdpa with a warning where that cannot run; false: sdpa."""
    trust_remote_code: Flag = False
    """Run Python code that ships with the model or the tokenizer. Only for sources you trust."""
    train_from_scratch: Flag = False
    """Initialise the weights at random from config.json; the folder needs no weights."""
    chat_template: Unescaped | None = None
    """Jinja chat template, as text. None: the tokenizer's, else ChatML."""
    chat_template_path: str | None = None
    """File that holds a Jinja chat template."""
    add_special_tokens: Names | None = None
    """Special tokens to add to the tokenizer; the embeddings grow where needed."""
    embedding_size_multiple_of: Count | None = None
    """Grow the embedding matrix to a multiple of this when tokens are added. None: 1."""


class Data(Section):
    """What is trained on."""

    training_data_path: Paths | None = None
    """File, folder, glob or Hub id of the rows, or a list of them (json, jsonl, csv, parquet, arrow). Required."""
    validation_data_path: Paths | None = None
    """The same for the held-out rows."""
    validation_fraction: Fraction | None = None
    """Share of the training rows to hold out, 0 to 1; 0 holds out none. None: chosen by the recommender."""
    dataset_split: str | None = None
    """Split to take from a Hub dataset. None: train."""
    data_format: str | None = None
    """Shape of the rows: chat, prompt_completion, instruction, question_answering … None: seen from the columns."""
    dataset_text_field: str | None = None
    """Column that holds the whole text of a row."""
    dataset_conversation_field: str | None = None
    """Column that holds the list of chat messages. None: messages."""
    data_formatter_template: Unescaped | None = None
    """Jinja template that makes the text of a row: `### Input: {{question}}`. Rendered in a sandbox."""
    response_template: Unescaped | None = None
    """Text after which the response starts; only what follows it is trained on."""
    instruction_template: Unescaped | None = None
    """Text that starts a human turn. Chat messages tell their turns by role, so it changes nothing for them."""


class Peft(Section):
    """Parameter-efficient fine-tuning."""

    peft_method: Annotated[
        Literal["none", "lora"] | None, BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v)
    ] = None
    """none: train every weight; lora: train low-rank adapters. None: lora when a LoRA field is set, else none."""
    r: Count | None = None
    """Rank of the adapters. None: chosen by the recommender."""
    lora_alpha: Positive | None = None
    """Scale of the adapters: their output is multiplied by lora_alpha / r. None: chosen by the recommender."""
    lora_dropout: Fraction | None = None
    """Dropout before the adapters, 0 to 1. None: chosen by the recommender."""
    target_modules: Modules | None = None
    """Modules that get adapters: names, a regular expression, or all-linear. None: chosen by the recommender."""
    target_parameters: Names | None = None
    """Parameters outside linear layers that get adapters, such as fused experts. None: chosen by the recommender."""
    exclude_modules: Names | None = None
    """Modules that never get adapters."""
    modules_to_save: Names | None = None
    """Modules that are trained whole beside the adapters."""
    bias: Literal["none", "all", "lora_only"] | None = None
    """Which biases are trained. None: none."""
    use_rslora: Flag | None = None
    """Scale by lora_alpha / sqrt(r) instead."""
    use_dora: Flag | None = None
    """Weight-decomposed adapters (DoRA)."""
    init_lora_weights: Flag | str | None = None
    """How adapters start: true, false, gaussian, pissa, olora … None: true (B is zero)."""


class Quantization(Section):
    """Loading the frozen weights under LoRA in 4 or 8 bits, with bitsandbytes; the fields of `BitsAndBytesConfig`."""

    load_in_4bit: Flag | None = None
    """Load the linear layers in 4 bits. None: chosen by the recommender where half precision does not fit."""
    load_in_8bit: Flag | None = None
    """Load the linear layers in 8 bits. None: no."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = None
    """The 4-bit number format. None: nf4, chosen by the recommender (fp4 without it)."""
    bnb_4bit_use_double_quant: Flag | None = None
    """Quantize the scales too, which saves 0.05 bytes per weight. None: yes, chosen by the recommender."""
    bnb_4bit_compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type that 4-bit weights are multiplied in. None: chosen by the recommender for the device."""


class Tracking(Section):
    """Where the run is recorded; the run folder always holds everything."""

    trackers: Trackers | None = None
    """Backends: aim, mlflow, tensorboard, trackio, wandb, or several. None: the run folder alone."""
    experiment: Text | None = None
    """Name that groups runs in every backend. None: default."""
    run_name: Text | None = None
    """Name of this run. None: experiment, time and four random characters."""
    finish_timeout: Positive = 30.0
    """Longest wait for the backends at the end of the run, seconds; `tune sync` delivers the rest."""
    sender_patience: Positive = 300.0
    """Longest that the sender beside the run goes on without any progress after the end, seconds."""
    system_metrics_interval: NotNegative = 15.0
    """Seconds between two samples of CPU, memory and GPUs; 0: none are taken."""
    aim_repo: str | None = None
    """Folder (or aim:// address) of the Aim repository. None: in the run folder."""
    aim_remote_server_ip: str | None = None
    """Host of an Aim server."""
    aim_remote_server_port: Port | None = None
    """Port of the Aim server."""
    aim_url: str | None = None
    """Address of an Aim server: aim://host:port."""
    mlflow_tracking_uri: str | None = None
    """sqlite:///file.db or the http address of an MLflow server. None: a sqlite file in the run folder."""
    mlflow_experiment: str | None = None
    """MLflow experiment. None: experiment."""
    wandb_project: str | None = None
    """W&B project. None: experiment."""
    wandb_entity: str | None = None
    """W&B user or team. None: your default."""
    wandb_mode: Literal["offline", "online"] = "offline"
    """offline writes to the run folder; online sends to the W&B server."""
    wandb_base_url: str | None = None
    """Address of a W&B server of your own. None: W&B's."""
    wandb_dir: str | None = None
    """Folder for W&B's files. None: in the run folder."""
    tensorboard_dir: str | None = None
    """Folder for TensorBoard's files; each run has a folder of its own in it. None: in the run folder."""
    trackio_project: str | None = None
    """Trackio project. None: experiment."""
    trackio_dir: str | None = None
    """Folder of Trackio's databases. None: in the run folder."""
    tracker_options: dict[str, Any] | None = None
    """Options of other registered trackers: {name: {option: value}}."""


class Recommender(Section):
    """The part that fills in what you left out."""

    recommend: Flag = True
    """Fill the fields that you left out; false leaves them to Hugging Face's defaults."""
    strict: Flag = False
    """Refuse a configuration that would crash, instead of changing the value that would make it crash."""
    history: Paths | None = None
    """Folders of finished runs; those near to this one may refine a suggestion. None: the rules alone."""
    rules_dir: Text | None = None
    """Folder of Python files with rules of your own, named Custom_…; they run as code. None: none."""


class Compute(Section):
    """The machine that the run is meant for; what is left out is found out here."""

    num_processes: Count | None = None
    """Processes that the run must have; another world size is an error. None: as launched."""
    num_nodes: Count | None = None
    """Machines of the run. None: 1, or as launched."""
    num_gpus_per_node: Annotated[Integer, Field(ge=0)] | None = None
    """GPUs of each machine; 0: it trains on CPUs. None: those of this machine."""
    gpu_memory_gib: Positive | None = None
    """Memory of one GPU, GiB. None: as found here."""
    gpu_compute_capability: Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")] | None = None
    """CUDA compute capability of the GPUs, as in 9.0. None: as found here, or 8.0 for GPUs that are elsewhere."""
    ram_gib: Positive | None = None
    """Memory of one machine, GiB. None: as found here."""


class TuningConfig(Section):
    """A whole run, checked and frozen."""

    model: Model = Model()
    data: Data = Data()
    training: Training = Field(default_factory=lambda: Training())
    peft: Peft = Peft()
    quantization: Quantization = Quantization()
    tracking: Tracking = Tracking()
    recommender: Recommender = Recommender()
    compute: Compute = Compute()
    accelerate: JsonObject = {}
    """Configuration of accelerate, by the keys of its own file: distributed_type, fsdp_config … None: as launched."""
    metadata: JsonObject = {}
    """Anything about the experiment that you want to find again: logged as run params under `metadata`."""

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Describe the document as JSON schema; flat field names are allowed beside the sections."""
        return flat_json_schema(cls)


def _training_fields() -> type[Section]:
    """Make the base of the training section: every field of the installed `SFTConfig` that no other section holds."""
    elsewhere = {name for section in (Model, Data, Tracking) for name in section.model_fields} | REPORT_TO_IS_OURS
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


def sections() -> dict[str, type[Section]]:
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
    schema["additionalProperties"] = True  # names of older releases, and a run's own config.json, are read too
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
