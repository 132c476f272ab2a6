"""The sections of a run's configuration but for training: fields, ranges and help texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tuning.config.section import Section
from tuning.config.types import (
    Count,
    Flag,
    Fraction,
    Integer,
    Modules,
    Names,
    NotNegative,
    Number,
    Paths,
    Port,
    Positive,
    Text,
    Trackers,
    Unescaped,
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
    """File that holds a Jinja chat template, or the folder of a tokenizer that has one."""
    add_special_tokens: Names | None = None
    """Special tokens to add to the tokenizer; the embeddings grow where needed."""
    embedding_size_multiple_of: Count | None = None
    """Grow the embedding matrix to a multiple of this when tokens are added. None: 1."""


class Handler(Section):
    """One step that rows go through."""

    name: Text
    """Name of a registered handler. Required."""
    arguments: dict[str, Any] | None = None
    """What the handler is called with. None: nothing."""


class Shares(Section):
    """How the rows of a dataset are parted."""

    train: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Share to train on."""
    validation: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Share to hold out."""


class Dataset(Section):
    """One of several datasets: where its rows stand, what happens to them, and how often they are drawn."""

    name: Text | None = None
    """Name in messages and records. None: dataset_1, dataset_2 …"""
    data_paths: Paths
    """File, folder, glob or Hub id of the rows, or a list of them. Required."""
    dataset_split: str | None = None
    """Split to take from a Hub dataset. None: train."""
    sampling: Annotated[Number, Field(ge=0, le=1)] | None = None
    """Share of the mixture; the shares of all datasets add up to 1. None for all: one dataset after the other."""
    split: Shares | None = None
    """Shares of rows to train on and to hold out: {train: 0.8, validation: 0.2}. None: by data.validation_fraction."""
    shuffle: Flag = True
    """Draw the rows of each share at random; false: the first are trained on, and the last held out."""
    rename_columns: dict[str, str] | None = None
    """New names of columns: {old: new}."""
    retain_columns: Names | None = None
    """Columns to keep. None: all."""
    data_handlers: list[Handler] | None = None
    """What is done to the rows, in this order. None: nothing."""
    task_type: str | None = None
    """As data.task_type, for these rows."""
    data_format: str | None = None
    """As data.data_format, for these rows."""
    dataset_text_field: str | None = None
    """As data.dataset_text_field, for these rows."""
    dataset_conversation_field: str | None = None
    """As data.dataset_conversation_field, for these rows."""
    data_formatter_template: Unescaped | None = None
    """As data.data_formatter_template, for these rows."""
    response_template: Unescaped | None = None
    """As data.response_template, for these rows."""
    label_separator: Unescaped | None = None
    """As data.label_separator, for these rows."""


class Data(Section):
    """What is trained on."""

    training_data_path: Paths | None = None
    """File, folder, glob or Hub id of the rows, or a list of them (json, jsonl, csv, parquet, arrow). Required, but for
    `datasets`, `data_config_path` and tasks that have a small dataset built in."""
    validation_data_path: Paths | None = None
    """The same for the held-out rows."""
    validation_fraction: Fraction | None = None
    """Share of the training rows to hold out, 0 to 1; 0 holds out none. None: chosen by the recommender."""
    dataset_split: str | None = None
    """Split to take from a Hub dataset. None: train."""
    datasets: Annotated[list[Dataset], Field(min_length=1)] | None = None
    """Several datasets, each with its paths, share, split and handlers; instead of training_data_path."""
    data_config_path: str | None = None
    """File that holds `datasets` and `dataprocessor`, as fms-hf-tuning writes it; instead of training_data_path."""
    sampling_stopping_strategy: (
        Literal["all_exhausted", "first_exhausted", "all_exhausted_without_replacement"] | None
    ) = None
    """When a mixture ends: with its first exhausted dataset, or its last. None: all_exhausted."""
    sampling_seed: Annotated[Integer, Field(ge=0, le=4294967295)] | None = None
    """Seed of the draws of a mixture. None: seed."""
    streaming: Flag = False
    """Read, convert and tokenize rows while training; needs max_steps. For data that does not fit on the disk twice."""
    task_type: str | None = None
    """What the rows teach: instruction_fine_tuning, code_generation, chat_fine_tuning, question_answering or
    rag_fine_tuning, or short instruction, code, chat, qa, rag; or classification, text. None: seen from the columns."""
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
    label_separator: Unescaped | None = None
    """Text between prompt and answer, such as [sep]: it is left out, and only what follows its first is trained on."""
    instruction_template: Unescaped | None = None
    """Text that starts a human turn. Chat messages tell their turns by role, so it changes nothing for them."""
    max_skipped_share: Annotated[Number, Field(ge=0, le=1)] = 0.05
    """Largest share of rows that may be left out because they cannot be trained on; above it the run is refused."""
    audit: Literal["warn", "fail", "off"] = "warn"
    """What follows when the audit finds rows that teach nothing or the wrong thing: warn, fail, or off: no audit."""
    dataset_prepared_path: str | None = None
    """Folder of tokenized rows that later runs take up. None: beside Hugging Face's datasets cache."""


class Peft(Section):
    """Parameter-efficient fine-tuning."""

    peft_method: Annotated[
        Literal["none", "lora", "alora", "pt", "ia3"] | None,
        BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v),
    ] = None
    """none: train every weight; lora: low-rank adapters; alora: adapters that act from an invocation on; pt: prompt
    tuning, virtual tokens before the input; ia3: (IA)³, factors of activations. None: the method that has the fields
    that are set, else none."""
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
    """How adapters start: true, false, gaussian, pissa, olora, loftq … None: true (B is zero)."""
    loftq_config: dict[str, Any] | None = None
    """How init_lora_weights=loftq quantizes: {loftq_bits: 4, loftq_iter: 1}. It needs a GPU. None: PEFT's values."""
    alora_invocation_string: Text | None = None
    """Text from whose last place in a row on the adapters of alora act; its tokens must stand in the rows."""
    alora_invocation_tokens: list[Integer] | None = None
    """The same as token ids, instead of the text."""
    num_virtual_tokens: Count | None = None
    """Virtual tokens of prompt tuning. None: 8."""
    prompt_tuning_init: Annotated[
        Literal["RANDOM", "TEXT", "SAMPLE_VOCAB"] | None,
        BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v),
    ] = None
    """How virtual tokens start: as a text, as tokens drawn from the vocabulary, or at random. None: TEXT where
    prompt_tuning_init_text is given, else SAMPLE_VOCAB."""
    prompt_tuning_init_text: Text | None = None
    """Text that virtual tokens start as, repeated or cut to their number."""
    feedforward_modules: Modules | None = None
    """Those of target_modules whose input ia3 scales, instead of their output. None: PEFT's choice for the model."""


ADAPTER_METHODS = ("lora", "alora", "pt", "ia3")
"""Values of peft_method that leave the model's own weights as they are."""
LORA_METHODS = ("lora", "alora")
"""Those that train low-rank adapters."""
ALORA_FIELDS = ("alora_invocation_string", "alora_invocation_tokens")
PROMPT_FIELDS = ("num_virtual_tokens", "prompt_tuning_init", "prompt_tuning_init_text")


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


class Evaluation(Section):
    """How the model is measured on the held-out rows, beside their loss."""

    token_f1: Flag = True
    """Measure F1 over tokens, micro and macro."""
    baseline: Flag = False
    """Measure the base model, too, and the difference that training made."""
    generation_metrics: Names | None = None
    """Compare generated answers with the rows': exact_match, rouge, bleu, classification, pass_at_1. None: none."""
    generation_rows: Count = 100
    """Held-out rows to generate answers for, at most."""
    generation_batch_size: Count | None = None
    """Rows per batch of generation. None: per_device_eval_batch_size."""
    max_new_tokens: Count | None = None
    """Longest generated answer, tokens. None: the longest answer of these rows, as far as the model has room."""
    allow_code_execution: Flag = False
    """Run generated code against the rows' tests, which pass_at_1 needs, in a process that is locked down."""
    eval_save_format: Literal["json", "csv"] = "json"
    """Format of the file of results: eval.json or eval.csv."""
    lm_eval_tasks: Names | None = None
    """Tasks of lm-eval (the extra lm-eval) to measure at the end. None: none."""
    lm_eval_include_path: str | None = None
    """Folder of task files for lm-eval. None: its own tasks."""
    lm_eval_limit: Count | None = None
    """Rows per task of lm-eval, at most. None: all."""


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
