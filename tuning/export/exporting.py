"""The frame around all formats: refuse, write under a temporary name, compare, and only then rename."""

from __future__ import annotations

import gc
import json
import logging
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuning import console
from tuning.errors import UserError
from tuning.export.comparison import Answers, Comparison, answers_of, compare
from tuning.export.exporter import EXPORT_FILE, Exporter, Options
from tuning.export.exporters import new_exporter
from tuning.export.loaded import Loaded, load, load_model_of, quantization_of_run
from tuning.export.model_card import write_model_card
from tuning.export.prompts import Prompts, prompts_for
from tuning.export.refusals import refuse
from tuning.export.source import Source
from tuning.full_disk import disk_full_error

logger = logging.getLogger(__name__)

_PACKAGES = (
    "tuning",
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "gguf",
    "onnx",
    "onnxruntime",
    "tensorflow-cpu",
    "tensorflow",
)


@dataclass(frozen=True)
class Exported:
    """An export that was compared with the model, and is good."""

    folder: Path
    format: str
    dtype: str
    comparison: Comparison
    seconds: float


def export_model(
    source: Source, name: str, folder: Path, options: Options | None = None, replace: bool = False
) -> Exported:
    """Write a model in a format, load it again with the format's own library, and compare.

    `replace` lets it take the place of an earlier export, once it is good.

    Raises:
        UserError: it is refused, before anything is loaded or written; or the comparison fails, with its numbers, and
            nothing is left of the export.
    """
    options, began = options or Options(), time.monotonic()
    exporter = new_exporter(name)
    refuse(exporter, source, folder, options, replace)
    console.hide_progress_bars()
    with _draft_of(folder) as draft:
        logger.info("export: %s as %s: loading it", source.name, name)
        loaded = load(source)
        prompts = prompts_for(source, loaded.tokenizer, _vocab_size(loaded.model))
        answers = answers_of(loaded.model, prompts)
        dtype, quantized = exporter.weights_dtype(loaded, options), _difference_to_quantized(loaded, answers, prompts)
        logger.info("export: writing %s", dtype)
        exporter.write(loaded, draft, options)
        comparison = _compared(exporter, source, draft, loaded, answers, prompts, dtype)
        _describe(draft, name, dtype, loaded, comparison, exporter, quantized)
        write_model_card(source, draft, name, dtype, comparison)
        _set_in_place(draft, folder, replace)
    logger.info("export: %s is good: logits differ by up to %.2g", folder, comparison.max_difference)
    return Exported(folder, name, dtype, comparison, time.monotonic() - began)


def _compared(
    exporter: Exporter,
    source: Source,
    draft: Path,
    loaded: Loaded,
    answers: list[Answers],
    prompts: Prompts,
    dtype: str,
) -> Comparison:
    """Load what was written in the place of the model, so that there is never more than one in memory."""
    loaded.model = None
    gc.collect()
    logger.info("export: comparing on %d prompts (%s)", len(prompts.ids), prompts.origin)
    try:
        comparison = compare(exporter.read(source, draft, loaded.stored_dtype), answers, prompts)
    except Exception as error:  # whatever another library raises, it says that the file is not good
        raise UserError(f"the export cannot be read again: {type(error).__name__}: {error}; it is removed") from error
    if failures := comparison.failures(exporter.bound(dtype)):
        raise UserError(f"the export does not say what the model says: {'; '.join(failures)}; it is removed")
    return comparison


def _difference_to_quantized(loaded: Loaded, answers: list[Answers], prompts: Prompts) -> dict[str, Any] | None:
    """Tell how far the unquantized model is from the quantized one that was trained; None: it was not quantized."""
    quantization = quantization_of_run(loaded.source)
    if not quantization or loaded.source.saved.adapter is None:
        return None
    from tuning.export.torch_export import torch_logits

    try:
        model = load_model_of(loaded.source, loaded.tokenizer, loaded.stored_dtype, quantization)
    except UserError as error:
        logger.warning("export: the quantized base that was trained on cannot be compared: %s", error)
        return {"unknown": str(error)}
    found = compare(torch_logits(model), answers, prompts)
    logger.info(
        "export: the quantized base that was trained on differs by up to %.2g; its top token is the same at %.1f%%",
        found.max_difference,
        100 * found.top_1,
    )
    return {"max_difference": found.max_difference, "top_1": found.top_1}


def _describe(
    draft: Path,
    name: str,
    dtype: str,
    loaded: Loaded,
    comparison: Comparison,
    exporter: Exporter,
    quantized: dict[str, Any] | None,
) -> None:
    adapter, origin = loaded.source.saved.adapter, loaded.source.origin
    document = {
        "format": name,
        "dtype": dtype,
        "base": str(origin) if adapter is None else loaded.source.saved.base,
        "adapter": None if adapter is None else str(origin),
        "architecture": loaded.source.architecture,
        "comparison": comparison.to_dict(),
        "allowed_difference": comparison.allowed(exporter.bound(dtype)),
        **({"quantized_base": quantized} if quantized is not None else {}),
        **exporter.facts(draft),
        "versions": _versions(),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (draft / EXPORT_FILE).write_text(f"{text}\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _vocab_size(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def _set_in_place(draft: Path, folder: Path, replace: bool) -> None:
    """Give the draft its name; an earlier export goes when the new one has it.

    Raises:
        UserError: something else has come to be there meanwhile.
    """
    earlier = draft.with_name(f"{draft.name}.earlier")
    if folder.exists() or folder.is_symlink():
        if not (replace and (folder / EXPORT_FILE).is_file()):
            raise UserError(f"--out: '{folder}' has come to be there during the export, which is removed")
        folder.rename(earlier)
    draft.rename(folder)
    shutil.rmtree(earlier, ignore_errors=True)


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """Make a folder beside the goal that is renamed to it, or removed with all that is in it.

    Its name is no other process's, on whatever machine: several may share the disk.

    Raises:
        UserError: nothing can be written there.
        DiskFullError: the disk takes no more.
    """
    draft = folder.with_name(f".export-{secrets.token_hex(8)}")
    made = [parent for parent in draft.parents if not parent.exists()]
    try:
        draft.mkdir(parents=True)
        yield draft
    except Exception as error:  # some libraries only quote what the operating system says
        if full := disk_full_error(error, "the export", folder.parent, "nothing is left of this one"):
            raise full from error
        if not isinstance(error, OSError):
            raise
        raise UserError(f"--out: '{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):  # an export, or what somebody else has put there, keeps the folders above it
            for parent in made:
                parent.rmdir()
