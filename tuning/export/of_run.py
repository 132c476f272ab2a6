"""Export what a run has saved, in the formats that its configuration asks for, and say beforehand what cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.errors import Problem, UserError
from tuning.export.exporter import FORMATS, Options
from tuning.export.exporters import EXPORTERS
from tuning.export.exporting import Exported, export_model
from tuning.export.refusals import require_package, unknown_type
from tuning.export.source import CONFIG_FILE, Source, find_source, read_json
from tuning.export.torch_export import unmergeable
from tuning.plain_adapters import becomes_plain
from tuning.saved_model import SavedModel

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
    source = dataclasses.replace(find_source(str(model_folder)), run_folder=run_folder)
    given = config.export.export_dir
    parent = Path(given).expanduser() if given else run_folder / EXPORT_FOLDER
    made, failed = [], []
    for name in config.export.export_formats:
        options = _options(config, name)
        try:
            made.append(export_model(source, name, parent / options.folder_name(name), options, replace=True))
        except UserError as error:
            failed.append(f"{name}: {error}")
    if failed:
        raise UserError("\n".join(f"export to {told}" for told in failed))
    return made


def unusable_export(config: TuningConfig) -> Iterator[Problem]:
    """Name what a run would train and could not export, from the base's JSON files alone.

    Raises:
        MissingExtraError: a format's package is not installed.
    """
    source = _planned(config)
    for name in config.export.export_formats or ():
        if name not in EXPORTERS.names():
            yield Problem(FORMATS, f"expected some of: {', '.join(EXPORTERS.names())}", name)
            continue
        exporter, options = EXPORTERS.load(name)(), _options(config, name)
        require_package(exporter)
        yield from unknown_type(exporter, options)
        if source is not None:
            yield from exporter.problems(source, options)
            yield from unmergeable(source) if exporter.merges_adapters else _whole_embeddings(config, source)


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


def _planned(config: TuningConfig) -> Source | None:
    """Describe what the run will save, as far as it is known now; None: the base is not in a folder here."""
    base = Path(str(config.model.model_name_or_path)).expanduser()
    if not (base / CONFIG_FILE).is_file():
        return None
    tokenizer = config.model.tokenizer_name_or_path or str(base)
    return Source(SavedModel(str(base), None, tokenizer), read_json(base / CONFIG_FILE), _adapter_config(config))


def _adapter_config(config: TuningConfig) -> dict[str, object] | None:
    peft = config.peft
    if peft.peft_method in (None, "none"):
        return None
    if peft.peft_method in _OTHER_THAN_LORA:
        return {"peft_type": _OTHER_THAN_LORA[peft.peft_method]}
    fields = {"peft_type": "LORA", **peft.model_dump()}
    return {**fields, "init_lora_weights": True} if becomes_plain(peft.init_lora_weights) else fields
