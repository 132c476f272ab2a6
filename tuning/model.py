"""Load the model that is tuned, from safetensors or from scratch, and find the checkpoint to go on from."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.acceleration.framework import AccelerationFramework
from tuning.config.decided import seed_of
from tuning.config.schema import TuningConfig
from tuning.config.sections import ADAPTER_METHODS, Model
from tuning.data.templates import check_chat_template, read_chat_template
from tuning.errors import Problem, UserError
from tuning.quantization import hint_for_loading, keep_gradients, quantization_options, quantized_already
from tuning.tokenizer import Additions, has_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
_HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors",)
_HOW_TO_TOKENIZE = "Give another with tokenizer_name_or_path."
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def unusable_model(config: TuningConfig) -> Iterator[Problem]:
    """Name what is wrong with the model and the tokenizer, from their file names alone."""
    model = config.model
    if model.model_name_or_path is not None:
        yield from _unusable(model, model.model_name_or_path)
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


def _unusable(model: Model, name: str) -> Iterator[Problem]:
    path, folder = "model.model_name_or_path", Path(name)
    if not folder.is_dir():
        if not _may_be_on_the_hub(name):
            yield Problem(path, "there is no such folder, and it is no Hub id", name)
    elif not (folder / "config.json").is_file():
        yield Problem(path, "the folder holds no config.json", name)
    elif not model.train_from_scratch and not _holds(folder, _WEIGHTS):
        yield Problem(path, *_why_no_weights(folder, name))


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
    except (OSError, ValueError, ImportError) as error:
        hint = hint_for_loading(config)
        raise UserError(f"model.model_name_or_path: '{name}' cannot be loaded: {error}{hint}") from error
    keep_gradients(loaded)
    _check_positions(loaded, config.training.max_length)
    _fit_embeddings(loaded, tokenizer, model, additions)
    return loaded


def _framework_for_reading(config: TuningConfig) -> AccelerationFramework:
    """Make a framework for a saved model: a base that GPTQ quantized needs the plugin that its training had."""
    stanzas = {"peft": {"quantization": {"auto_gptq": {}}}}
    return AccelerationFramework({"plugins": stanzas} if quantized_already(config) == "gptq" else None)


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


def find_checkpoint(config: TuningConfig) -> str | None:
    """Return the folder to go on from: the one that was named, or the newest complete one in the run folder.

    Raises:
        UserError: a checkpoint was asked for and is not there, or is not complete.
    """
    asked = config.training.resume_from_checkpoint
    if asked is False:
        return None
    if isinstance(asked, str):
        if not _is_complete(Path(asked)):
            raise UserError(f"training.resume_from_checkpoint: '{asked}' is not a complete checkpoint")
        return _of_this_method(Path(asked), config)
    found = sorted(_checkpoints(Path(str(config.training.output_dir))), key=lambda entry: entry[0])
    complete = [folder for _, folder in found if _is_complete(folder)]
    for _, folder in found:
        if folder not in complete:
            logger.warning("%s is not complete (a save was interrupted); it is passed over", folder)
    if asked is True and not complete:
        raise UserError(
            f"training.resume_from_checkpoint: there is no complete checkpoint in {config.training.output_dir}"
        )
    return _of_this_method(complete[-1], config) if complete else None


def _of_this_method(checkpoint: Path, config: TuningConfig) -> str:
    """Refuse to go on with adapters where all weights are trained, and the other way round."""
    is_adapter, wants_adapter = _holds(checkpoint, _ADAPTER_WEIGHTS), config.peft.peft_method in ADAPTER_METHODS
    if is_adapter != wants_adapter:
        kind = "adapters" if is_adapter else "all weights"
        raise UserError(
            f"peft.peft_method: {checkpoint} holds {kind}, and this run trains something else; "
            "choose another output_dir, or resume_from_checkpoint=false"
        )
    return str(checkpoint)


def _checkpoints(folder: Path) -> Iterator[tuple[int, Path]]:
    for entry in folder.glob("checkpoint-*"):
        number = entry.name.rpartition("-")[2]
        if entry.is_dir() and number.isdigit():
            yield int(number), entry


def _is_complete(folder: Path) -> bool:
    """Tell whether a checkpoint can be gone on from; the trainer writes its state last."""
    if _state(folder) is None:
        return False
    return _holds(folder, (*_WEIGHTS, *_ADAPTER_WEIGHTS)) and all(map(_is_whole, folder.glob("*.safetensors")))


def is_finished(checkpoint: str, max_steps: int, num_train_epochs: float) -> bool:
    """Tell whether a checkpoint is the last step of a run of so many steps (0 or less: of so many epochs)."""
    state = _state(Path(checkpoint)) or {}
    if max_steps > 0:
        return state.get("global_step", 0) >= max_steps
    return (state.get("epoch") or 0) >= num_train_epochs


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_whole(file: Path) -> bool:
    """Tell whether a safetensors file is as long as its header says."""
    with file.open("rb") as stream:
        try:
            header_length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(header_length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, OverflowError):
            return False
    return file.stat().st_size == 8 + header_length + max(ends, default=0)


def _holds(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)
