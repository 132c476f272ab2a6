"""A LoRA adapter as vLLM loads it: the embeddings of new tokens stand in a file of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem, UserError
from tuning.export.exporter import QUANTIZE, Exporter, Options
from tuning.export.loaded import Loaded, load_model_of, load_plain_tokenizer
from tuning.export.source import Source
from tuning.export.weights import weight_files
from tuning.tokenizer import ADDED_TOKENS_FILE, Additions
from tuning.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

    from tuning.export.exporter import Logits

NEW_EMBEDDINGS_FILE = "new_embeddings.safetensors"
INPUT, OUTPUT = "input_embeddings", "output_embeddings"
_EMBEDDINGS = ("embed_tokens", "lm_head", "wte")
_ON_THE_BASE_AS_IT_IS = ("gaussian", "eva", "orthogonal", "mica")
"""Values of init_lora_weights that change nothing but the adapter. Source: PEFT 0.21."""
_PATH = "peft"
_WHOLE = "Export the whole model: --to torch."


class AdapterExporter(Exporter):
    """The adapter without embeddings, `new_embeddings.safetensors`, and `added_tokens_info.json`, as fms-hf-tuning."""

    merges_adapters = False

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse what is no LoRA adapter, and kinds of LoRA that vLLM does not serve."""
        if options.quantize is not None:
            yield Problem(QUANTIZE, "adapters keep their type", options.quantize, "the export")
        found = source.adapter_config
        if found is None:
            yield Problem("peft.peft_method", "the model is no adapter", hint=_WHOLE)
            return
        if found.get("peft_type") != "LORA":
            yield Problem("peft.peft_method", "vLLM serves LoRA adapters alone", found.get("peft_type"), ADAPTER_CONFIG)
        for name in ("use_dora", "lora_bias", "rank_pattern", "alpha_pattern", "layer_replication"):
            if found.get(name):
                yield Problem(f"{_PATH}.{name}", "vLLM does not serve it", found[name], ADAPTER_CONFIG, _WHOLE)
        if isinstance(found.get("init_lora_weights"), str) and found["init_lora_weights"] not in _ON_THE_BASE_AS_IT_IS:
            told = "its start changed the base, and vLLM loads the base as it is"
            yield Problem(f"{_PATH}.init_lora_weights", told, found["init_lora_weights"], ADAPTER_CONFIG, _WHOLE)
        if found.get("bias") not in (None, "none"):
            yield Problem(f"{_PATH}.bias", "vLLM does not serve it", found["bias"], ADAPTER_CONFIG, _WHOLE)
        others = [name for name in found.get("modules_to_save") or () if name.rpartition(".")[2] not in _EMBEDDINGS]
        if others:
            yield Problem(f"{_PATH}.modules_to_save", "vLLM serves no trained modules", others, ADAPTER_CONFIG, _WHOLE)

    def needed_bytes(self, source: Source, options: Options) -> float:
        """Tell how large the adapter is, bytes; 0 before there is one."""
        return _weights(source).stat().st_size if source.saved.adapter is not None else 0

    def weights_dtype(self, loaded: Loaded, options: Options) -> str:
        """Tell the type that the adapter's weights have."""
        from safetensors import safe_open

        with safe_open(_weights(loaded.source), framework="pt") as weights:
            found = {str(weights.get_tensor(name).dtype) for name in weights.keys()}  # noqa: SIM118 (no mapping)
        return "float32" if "torch.float32" in found else sorted(found)[0].removeprefix("torch.")

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        """Write the adapter's weights, and the rows of new tokens apart from them."""
        from safetensors import safe_open
        from safetensors.torch import save_file

        with safe_open(_weights(loaded.source), framework="pt") as weights:
            names = [name for name in weights.keys() if not _is_embedding(name)]  # noqa: SIM118 (no mapping)
            save_file({name: weights.get_tensor(name) for name in names}, folder / ADAPTER_WEIGHTS[0])
        first = _first_new_row(loaded.source)
        _require_old_rows_as_they_were(loaded.source, loaded.model, first)
        new = _new_rows(loaded.model, first)
        if new:
            save_file(new, folder / NEW_EMBEDDINGS_FILE)
        config = {**(loaded.source.adapter_config or {}), "modules_to_save": None, "trainable_token_indices": None}
        config |= {"ensure_weight_tying": False, "base_model_name_or_path": loaded.source.saved.base}
        (folder / ADAPTER_CONFIG).write_text(f"{json.dumps(config, indent=2)}\n", encoding="utf-8")
        _write_added_tokens(loaded, folder, first)
        loaded.tokenizer.save_pretrained(folder)

    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Load base and adapter with PEFT, and put the new rows into the embeddings, as vLLM does."""
        import torch
        from peft import PeftModel
        from safetensors.torch import load_file

        from tuning.export.torch_export import torch_logits

        alone = dataclasses.replace(source, saved=dataclasses.replace(source.saved, adapter=None))
        base: Any = load_model_of(alone, load_plain_tokenizer(source), dtype)
        file = folder / NEW_EMBEDDINGS_FILE
        if file.is_file():
            new, first = load_file(file), _first_new_row(source)
            base.resize_token_embeddings(first + len(new[INPUT]), mean_resizing=False)
            with torch.no_grad():
                base.get_input_embeddings().weight[first:] = new[INPUT].to(base.dtype)
                if not base.config.tie_word_embeddings:
                    base.get_output_embeddings().weight[first:] = new[OUTPUT].to(base.dtype)
        return torch_logits(PeftModel.from_pretrained(base, str(folder), use_safetensors=True))


def _weights(source: Source) -> Path:
    return Path(str(source.saved.adapter)) / ADAPTER_WEIGHTS[0]


def _is_embedding(name: str) -> bool:
    """Tell whether a weight of an adapter's file is one of whole embeddings, and not LoRA on them."""
    return "lora_" not in name and any(f".{part}." in name for part in _EMBEDDINGS)


def _first_new_row(source: Source) -> int:
    """Return how many rows the embeddings of the base have, by its configuration.

    Raises:
        UserError: the configuration does not say.
    """
    rows = source.config.get("vocab_size")
    if not isinstance(rows, int):
        raise UserError(f"{source.saved.base}: config.json says no vocab_size")
    return rows


def _require_old_rows_as_they_were(source: Source, model: Any, first: int) -> None:
    """Refuse changed embeddings that new_embeddings.safetensors has no place for.

    Raises:
        UserError: the rows of the base's own tokens were trained, too.
    """
    from safetensors import safe_open

    for file in weight_files(source):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                part = _embedding_of(model, name)
                if part is not None:
                    _require_equal(part.weight.detach()[:first], weights.get_tensor(name)[:first])


def _embedding_of(model: Any, name: str) -> Any:
    """Return the embeddings or the head for the name of a weight; None for every other weight."""
    if name.endswith("lm_head.weight"):
        return model.get_output_embeddings()
    return model.get_input_embeddings() if name.endswith(("embed_tokens.weight", "wte.weight")) else None


def _require_equal(now: Tensor, before: Tensor) -> None:
    changed = float((now - before.to(now.dtype)).abs().max())
    if changed > 0:
        raise UserError(
            f"the embeddings of the model's old tokens were trained, too (changes of up to {changed:.2g}), and an "
            f"adapter for vLLM has a place for new tokens alone. {_WHOLE}"
        )


def _new_rows(model: Any, first: int) -> dict[str, Tensor]:
    """Copy the rows that the base does not have, of the embeddings and of the head; none where they did not grow."""
    parts = {INPUT: model.get_input_embeddings(), OUTPUT: model.get_output_embeddings()}
    found = {name: part.weight.detach()[first:].clone() for name, part in parts.items()}
    return found if len(found[INPUT]) else {}


def _write_added_tokens(loaded: Loaded, folder: Path, first: int) -> None:
    """Copy what the run noted of added tokens; a run of another program noted nothing, and the size tells."""
    noted = Path(str(loaded.source.saved.adapter)) / ADDED_TOKENS_FILE
    if noted.is_file():
        (folder / ADDED_TOKENS_FILE).write_bytes(noted.read_bytes())
        return
    rows = int(loaded.model.get_input_embeddings().weight.shape[0])
    Additions(num_new_tokens=max(0, len(loaded.tokenizer) - first), new_embedding_size=rows).save(folder)
