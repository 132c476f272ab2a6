"""Export what a run has saved, in the formats that its configuration asks for, and say beforehand what cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.config.sections import Model
from tuning.errors import Problem, UserError
from tuning.export.exporter import FORMATS, QUANTIZE, Exporter, Options
from tuning.export.exporters import EXPORTERS, new_exporter
from tuning.export.exporting import Exported, export_model
from tuning.export.refusals import missing_extra, unusable_folder, unusable_model
from tuning.export.source import CONFIG_FILE, Source, find_source
from tuning.export.zero_stage import DIVIDES_WEIGHTS, zero_stage
from tuning.plain_adapters import becomes_plain
from tuning.saved_model import SavedModel, read_json

EXPORT_FOLDER = "export"
_OTHER_THAN_LORA = {"pt": "PROMPT_TUNING", "ia3": "IA3"}


def export_run(config: TuningConfig, model_folder: Path, run_folder: Path) -> list[Exported]:
    """Export a run's model to a folder for each format, in the place of earlier exports.

    One that fails does not keep the others from being made.

    Raises:
        UserError: at least one failed, with the reason of each.
    """
    if not config.export.export_formats:
        return []
    source = find_source(str(model_folder), run_folder=run_folder)
    made, failed = [], []
    for name in config.export.export_formats:
        options = _options(config, name)
        try:
            made.append(export_model(source, name, _folder(config, name), options, replace=True))
        except UserError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise UserError("\n".join(f"export to {told}" for told in failed))
    return made


def unusable_export(config: TuningConfig) -> Iterator[Problem]:
    """Name what a run would train and could not export, from the base's JSON files alone."""
    yield from _useless_type(config)
    source = _planned(config)
    for name in config.export.export_formats or ():
        if not _is_known(name):
            yield Problem(FORMATS, f"expected some of: {', '.join(EXPORTERS.names())}", name)
            continue
        exporter = new_exporter(name)
        if missing := missing_extra(exporter):
            yield Problem(FORMATS, str(missing), name)
        elif source is not None:
            yield from _unusable_format(config, source, name, exporter)
    if config.export.export_formats and zero_stage(config) == DIVIDES_WEIGHTS:
        hint = "Leave it out, and after the run: tune export RUN --to …"
        yield Problem(FORMATS, "no whole model can be loaded beside a training with ZeRO stage 3", hint=hint)


def _unusable_format(config: TuningConfig, source: Source, name: str, exporter: Exporter) -> Iterator[Problem]:
    options = _options(config, name)
    if found := list(unusable_model(exporter, source, options)):
        yield from found
        return
    if not exporter.merges_adapters:
        yield from _whole_embeddings(config, source)
    for problem in unusable_folder(exporter, source, _folder(config, name), options, replace=True):
        yield dataclasses.replace(problem, path="export.export_dir")


def _useless_type(config: TuningConfig) -> Iterator[Problem]:
    """Name a type that no format takes."""
    wanted, names = config.export.export_quantize, config.export.export_formats or ()
    if wanted is not None and not any(EXPORTERS.load(name).quantization_types for name in names if _is_known(name)):
        yield Problem(QUANTIZE, "none of export_formats has types; gguf has", wanted, hint="Add gguf, or leave it out.")


def _is_known(name: str) -> bool:
    return name in EXPORTERS.names()


def _whole_embeddings(config: TuningConfig, source: Source) -> Iterator[Problem]:
    """Name new tokens: they are learnt by training the embeddings whole, and those have no place in the format."""
    known = _vocabulary(Path(source.saved.tokenizer) / "tokenizer.json")
    if new := [token for token in config.model.add_special_tokens or () if token not in known]:
        told = "new tokens train the embeddings whole, and an adapter for vLLM holds none but those of new tokens"
        yield Problem("model.add_special_tokens", told, new, "the configuration", "Export the whole model: torch.")


def _vocabulary(file: Path) -> set[str]:
    """Read the tokens of a tokenizer.json; none where there is no such file."""
    if not file.is_file():
        return set()
    document = read_json(file)
    vocab = (document.get("model") or {}).get("vocab")
    added = {token["content"] for token in document.get("added_tokens") or ()}
    return added | (set(vocab) if isinstance(vocab, dict) else set())


def _options(config: TuningConfig, name: str) -> Options:
    """Take what the section chooses; a type counts for the formats that have types."""
    section = config.export
    takes_type = section.export_quantize is not None and EXPORTERS.load(name).quantization_types
    return Options(str(section.export_quantize).lower() if takes_type else None, section.export_max_shard_size)


def _folder(config: TuningConfig, name: str) -> Path:
    """Tell the folder of a format's export."""
    section = config.export
    parent = section.export_dir or Path(str(config.training.output_dir)) / EXPORT_FOLDER
    return Path(parent).expanduser() / _options(config, name).folder_name(name)


def _planned(config: TuningConfig) -> Source | None:
    """Describe what the run will save, as far as it is known now; None: the base's config.json is not here."""
    base = Path(str(config.model.model_name_or_path)).expanduser()
    file = base / CONFIG_FILE if base.is_dir() else _kept(config.model)
    if file is None or not file.is_file():
        return None
    name = str(base) if base.is_dir() else str(config.model.model_name_or_path)
    tokenizer = config.model.tokenizer_name_or_path or name
    return Source(SavedModel(name, None, tokenizer), read_json(file), _adapter_config(config))


def _kept(model: Model) -> Path | None:
    """Find the copy of a Hub id's config.json that is kept here; whether the Hub has one was asked before."""
    from huggingface_hub import try_to_load_from_cache

    name = str(model.model_name_or_path)
    found = try_to_load_from_cache(name, CONFIG_FILE, cache_dir=model.cache_dir, revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def _adapter_config(config: TuningConfig) -> dict[str, object] | None:
    peft = config.peft
    if peft.peft_method in (None, "none"):
        return None
    if peft.peft_method in _OTHER_THAN_LORA:
        return {"peft_type": _OTHER_THAN_LORA[peft.peft_method]}
    fields = {"peft_type": "LORA", **peft.model_dump()}
    return {**fields, "init_lora_weights": True} if becomes_plain(peft.init_lora_weights) else fields
