"""Load the model that is tuned, from safetensors or from scratch."""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.acceleration.configuration import framework_of
from tuning.acceleration.framework import AccelerationFramework
from tuning.config.decided import seed_of
from tuning.config.schema import TuningConfig
from tuning.config.sections import Model
from tuning.data.templates import check_chat_template, read_chat_template
from tuning.errors import Problem, UserError, reason_of
from tuning.quantization import (
    hint_for_loading,
    keep_gradients,
    model_config_of,
    quantization_options,
    quantized_already,
)
from tuning.tokenizer import Additions, has_tokenizer
from tuning.weight_files import WEIGHTS, holds, why_unreadable

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_HOW_TO_TOKENIZE = "Give another with tokenizer_name_or_path."
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def unusable_model(config: TuningConfig) -> Iterator[Problem]:
    """Name what is wrong with the model and the tokenizer, from their file names alone."""
    model = config.model
    if model.model_name_or_path is not None:
        yield from _unusable(config, model.model_name_or_path)
        yield from _no_tokenizer(model.tokenizer_name_or_path or model.model_name_or_path)
    if model.chat_template_path is not None:
        yield from _no_template(Path(model.chat_template_path))
    if model.chat_template is not None:
        yield from _invalid_template(model.chat_template)


def missing_kernels(config: TuningConfig) -> Iterator[Problem]:
    """Name kernels that are asked for and not installed; transformers would fail once the model is loaded."""
    if dict(config.training)["use_liger_kernel"] and importlib.util.find_spec("liger_kernel") is None:
        hint = "Install it with: pip install liger-kernel. Or leave the field out."
        yield Problem("training.use_liger_kernel", "the package liger_kernel is not installed", True, hint=hint)


def missing_on_the_hub(config: TuningConfig) -> Iterator[Problem]:
    """Ask the Hub for a model that is no folder here; it may take a while to answer, so ask it last."""
    name = str(config.model.model_name_or_path)
    if not Path(name).is_dir() and _may_be_on_the_hub(name) and (reason := _not_on_the_hub(config.model, name)):
        yield Problem("model.model_name_or_path", f"it is no folder here, and on the Hub: {reason}", name)


def _may_be_on_the_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and _HUB_ID.match(name) is not None


def _unusable(config: TuningConfig, name: str) -> Iterator[Problem]:
    model, path, folder = config.model, "model.model_name_or_path", Path(name)
    if not folder.is_dir():
        if not _may_be_on_the_hub(name):
            yield Problem(path, "there is no such folder, and it is no Hub id", name)
    elif not (folder / "config.json").is_file():
        yield Problem(path, "the folder holds no config.json", name)
    elif model_config_of(config) is None:
        yield Problem(path, "its config.json cannot be read as an object of JSON", name)
    elif not model.train_from_scratch and not holds(folder, WEIGHTS):
        yield Problem(path, *_why_no_weights(folder, name))
    elif not model.train_from_scratch and (reason := why_unreadable(folder)) is not None:
        yield Problem(path, f"its weights cannot be read: {reason}", name, hint="Fetch them once more.")


def _no_tokenizer(name: str) -> Iterator[Problem]:
    if Path(name).is_dir() and not has_tokenizer(Path(name)):
        yield Problem("model.tokenizer_name_or_path", "the folder holds no tokenizer", name, "model", _HOW_TO_TOKENIZE)


def _no_template(path: Path) -> Iterator[Problem]:
    try:
        if read_chat_template(path) is None:
            yield Problem("model.chat_template_path", "the folder holds no chat template", str(path))
    except FileNotFoundError:
        yield Problem("model.chat_template_path", "there is no such file or folder", str(path))
    except (OSError, ValueError) as error:
        yield Problem("model.chat_template_path", f"cannot be read: {error}", str(path))


def _invalid_template(template: str) -> Iterator[Problem]:
    try:
        check_chat_template(template)
    except UserError as error:
        yield Problem("model.chat_template", str(error), template)


def _not_on_the_hub(model: Model, name: str) -> str | None:
    """Ask the Hub, or the copy that is kept of it here, for the model's configuration; return why it has none."""
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(name, "config.json", revision=model.revision, cache_dir=model.cache_dir)
    except (OSError, ValueError) as error:  # what huggingface_hub raises is one of the two
        return " ".join(str(error).split()).rstrip(".")
    return None


def _why_no_weights(folder: Path, name: str) -> tuple[str, str, None, str]:
    if any(True for pattern in _PICKLED for _ in folder.glob(pattern)):
        hint = "Convert them once with transformers, in a place where you trust them."
        return "the weights are pickled, and loading a pickle can run code; safetensors are loaded", name, None, hint
    return "the folder holds no weights", name, None, "Set train_from_scratch=true to start from random ones."


def load_model(
    config: TuningConfig,
    tokenizer: PreTrainedTokenizerBase,
    additions: Additions,
    framework: AccelerationFramework | None = None,
) -> PreTrainedModel:
    """Load the model through the acceleration framework, and fit its embeddings to the tokenizer.

    Raises:
        UserError: the model cannot be loaded, or a plugin is not made for it; says why.
    """
    framework = framework or _framework_for_reading(config)
    model, name = config.model, str(config.model.model_name_or_path)
    options = {"trust_remote_code": model.trust_remote_code, **quantization_options(config), **_load_options(config)}
    if model.trust_remote_code:
        logger.warning("trust_remote_code: Python code from %s may run", name)
    try:
        if model.train_from_scratch:
            framework.check_model(name, **options)
            loaded = _from_scratch(config, options)
        else:
            loaded = framework.model_loader(name, use_safetensors=True, cache_dir=model.cache_dir, **options)
    except UserError:
        raise
    except Exception as error:  # what libraries raise on a file that is wrong may be of any type
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise
        told = f"'{name}' cannot be loaded: {reason_of(error)}{hint_for_loading(config)}"
        raise UserError(f"model.model_name_or_path: {told}") from error
    keep_gradients(loaded)
    _check_positions(loaded, config.training.max_length)
    _fit_embeddings(loaded, tokenizer, model, additions)
    return loaded


def _framework_for_reading(config: TuningConfig) -> AccelerationFramework:
    """Make a framework for a saved model: a base that GPTQ quantized needs the plugin that its training had."""
    if quantized_already(config) == "gptq":
        return AccelerationFramework({"plugins": {"peft": {"quantization": {"auto_gptq": {}}}}})
    return framework_of(config)


def _check_positions(model: PreTrainedModel, max_length: int | None) -> None:
    """Refuse sequences that reach beyond a table of positions; rotary positions go on, and only get worse."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if max_length is None or not isinstance(limit, int) or max_length <= limit:
        return
    told = f"training.max_length: {max_length} tokens, and the model knows {limit} positions"
    tables = [part for name, part in model.named_modules() if name.endswith(("wpe", "embed_positions"))]
    if tables:
        raise UserError(f"{told}; choose at most {limit}")
    logger.warning("%s; it was not trained for more", told)


def _from_scratch(config: TuningConfig, options: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    name, seed = str(config.model.model_name_or_path), seed_of(config)
    shape = AutoConfig.from_pretrained(
        name,
        revision=options.pop("revision", None),
        cache_dir=config.model.cache_dir,
        trust_remote_code=options["trust_remote_code"],
    )
    set_seed(seed)
    loaded = AutoModelForCausalLM.from_config(shape, **options)
    logger.warning(
        "train_from_scratch: the weights of %s are random (seed %d), %s parameters; nothing pretrained is used",
        name,
        seed,
        f"{loaded.num_parameters():,}",
    )
    return loaded


def _load_options(config: TuningConfig) -> dict[str, Any]:
    """Collect what `from_pretrained` is given: the model section over the user's `model_init_kwargs`."""
    model = config.model
    chosen = {"dtype": model.dtype, "revision": model.revision, "attn_implementation": _attention(model)}
    chosen["experts_implementation"] = model.experts_implementation
    given = config.training.model_dump()["model_init_kwargs"] or {}
    return {**given, **{key: value for key, value in chosen.items() if value is not None}}


def _attention(model: Model) -> str | None:
    if model.attn_implementation is not None or model.use_flash_attn is None:
        return model.attn_implementation
    if model.use_flash_attn and importlib.util.find_spec("flash_attn") is None:
        logger.warning("use_flash_attn: the package flash_attn is not installed; sdpa is used, with equal results")
        return "sdpa"
    return "flash_attention_2" if model.use_flash_attn else "sdpa"


def _fit_embeddings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, section: Model, additions: Additions
) -> None:
    """Grow the embeddings where the tokenizer has ids that they do not reach; never shrink them."""
    before = _embedding_rows(model)
    if len(tokenizer) > before:
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=section.embedding_size_multiple_of)
        logger.info("embeddings: grown from %d rows to %d", before, _embedding_rows(model))
    additions.new_embedding_size = _embedding_rows(model)


def _embedding_rows(model: PreTrainedModel) -> int:
    weight: Any = model.get_input_embeddings().weight
    return int(weight.shape[0])
