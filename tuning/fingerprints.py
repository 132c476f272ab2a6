"""What a run is made from, so that it can be told from another: SHA-256, sizes and counts of data and model."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.config.sections import Data, Model
from tuning.data.run_datasets import is_trained_on
from tuning.data.sources import Row, files_of, read_rows
from tuning.data.tasks import training_paths

_CHUNK_BYTES = 1 << 18
_MOST_FILES_LISTED = 20
_LINE = re.compile(rb"\S[^\r\n]*")
_LINE_END = re.compile(rb"[\r\n]")
_BESIDE_THE_WEIGHTS = (
    "config.json",
    "generation_config.json",
    "*token*.json",
    "vocab*",
    "merges.txt",
    "*.jinja",
    "*.model",
)
"""What a base model is loaded from, beside its weights: settings, tokenizer and chat template."""

_JSON_TYPES = {str: "string", bool: "boolean", int: "long", float: "double", list: "array", dict: "object"}


def data_fingerprint(data: Data) -> dict[str, Any]:
    """Describe the training files and the held-out ones, each by its path, rows, bytes and SHA-256."""
    return {name: _dataset(parts) for name, parts in _data_paths(data).items() if parts}


def data_files(data: Data) -> list[Path]:
    """List every data file of a run, without those of the Hub."""
    parts = [part for found in _data_paths(data).values() for part in found]
    return [file for path, split in parts for file in files_of([path], split) or ()]


def model_fingerprint(model: Model, files: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """Describe the base model: SHA-256 over `config.json` and the safetensors files, and the number of parameters.

    `files` are those of `model_files`, where they are known already: reading the weights twice takes a while.
    """
    name = str(model.model_name_or_path)
    folder = _model_folder(model)
    if folder is None:
        return {"name": name}
    weights = [] if model.train_from_scratch else sorted(folder.glob("*.safetensors"))
    read = [file for file in (folder / "config.json", *weights) if file.is_file()]
    described = {
        "name": name,
        "path": str(folder.absolute()),
        "sha256": _of_all([files[file.name]["sha256"] if files else _sha256(file) for file in read]),
        "bytes": sum(file.stat().st_size for file in read),
        "num_files": len(read),
    }
    return described | ({"num_parameters": sum(map(num_parameters, weights))} if weights else {})


def model_files(model: Model) -> dict[str, dict[str, Any]]:
    """Map each file that the base model, its tokenizer and chat template come from to its bytes and SHA-256.

    Files of the model's folder are called by their name, others by the path that the configuration leads to.
    """
    folder = _model_folder(model)
    weights = [] if model.train_from_scratch else ["*.safetensors"]
    found = {file.name: file for file in _matching(folder, [*_BESIDE_THE_WEIGHTS, *weights])}
    if model.tokenizer_name_or_path:
        tokenizer = Path(model.tokenizer_name_or_path).expanduser()
        found |= {str(file): file for file in _matching(tokenizer, _BESIDE_THE_WEIGHTS)}
    if model.chat_template_path and Path(model.chat_template_path).expanduser().is_file():
        found[model.chat_template_path] = Path(model.chat_template_path).expanduser()
    return {name: _bytes_and_digest(found[name]) for name in sorted(found)}


def weights_fingerprint(folder: Path) -> dict[str, Any]:
    """Describe the saved weights of a folder: SHA-256 of all of them and of each file."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    described = {file.name: _bytes_and_digest(file) for file in files}
    whole = _of_all([file["sha256"] for file in described.values()]) if described else None
    return {"folder": str(folder.absolute()), "sha256": whole, "files": described}


def num_parameters(file: Path) -> int:
    """Count the numbers in a safetensors file, from its header alone."""
    with file.open("rb") as content:
        header = json.loads(content.read(int.from_bytes(content.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _data_paths(data: Data) -> dict[str, list[tuple[str, str | None]]]:
    """List the paths that are trained on and those that are held out, each with the split that is read of it."""
    is_built_in = data.task_type is not None and not data.datasets
    training = training_paths(data) if data.training_data_path or is_built_in else []
    given = {
        "training": [(path, data.dataset_split) for path in training],
        "validation": [(path, data.dataset_split) for path in data.validation_data_path or ()],
    }
    for dataset in data.datasets or ():
        split = dataset.dataset_split or data.dataset_split
        given["training" if is_trained_on(dataset) else "validation"] += [(path, split) for path in dataset.data_paths]
    return given


def _matching(folder: Path | None, patterns: Sequence[str]) -> set[Path]:
    """List the files of a folder that match one of the patterns; none where there is no such folder."""
    return set() if folder is None else {file for name in patterns for file in folder.glob(name) if file.is_file()}


def _bytes_and_digest(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _dataset(parts: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """Describe the files of paths, each with the split that is read of it."""
    paths, found = [path for path, _ in parts], [files_of([path], split) for path, split in parts]
    files = [file for some in found for file in some or ()]
    if None in found:
        return {"path": list(paths) if len(paths) > 1 else paths[0], "source": "hub"}
    described = [_file(file) for file in files]
    whole = {
        "path": described[0]["path"] if len(files) == 1 else [str(Path(path).absolute()) for path in paths],
        "num_files": len(files),
        "rows": sum(one["rows"] for one in described),
        "bytes": sum(one["bytes"] for one in described),
        "sha256": _of_all([one["sha256"] for one in described]),
        "columns": _columns(files[0]),
    }
    return whole | ({"files": described[:_MOST_FILES_LISTED]} if len(files) > 1 else {})


def _file(file: Path) -> dict[str, Any]:
    digest, counter = hashlib.sha256(), _LineCounter()
    is_json_lines = file.suffix.lower() == ".jsonl"
    for chunk in _chunks(file):
        digest.update(chunk)
        if is_json_lines:
            counter.take(chunk)
    rows = counter.num_lines if is_json_lines else _count_rows(file)
    return {"path": str(file.absolute()), "rows": rows, "bytes": file.stat().st_size, "sha256": digest.hexdigest()}


class _LineCounter:
    """Count the lines that are not blank in a file that comes in pieces."""

    def __init__(self) -> None:
        self.num_lines = 0
        self._inside = False

    def take(self, chunk: bytes) -> None:
        self.num_lines += sum(1 for _ in _LINE.finditer(chunk))
        first, last = _first_line(chunk), chunk[max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1 :]
        if self._inside and first.strip():
            self.num_lines -= 1  # it was counted where it began
        self._inside = bool(last.strip()) or (self._inside and len(last) == len(chunk))


def _first_line(chunk: bytes) -> bytes:
    found = _LINE_END.search(chunk)
    return chunk if found is None else chunk[: found.start()]


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _of_all(digests: Sequence[str]) -> str:
    """Return the digest of one file, or for several files that of their digests, one per line."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _count_rows(file: Path) -> int:
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_metadata(file).num_rows
    return sum(1 for _ in read_rows([str(file)]))


def _columns(file: Path) -> dict[str, str]:
    """Name the columns of a file and the JSON types of its first row."""
    first = next((row for row in read_rows([str(file)]) if isinstance(row, Row)), None)
    return {name: _JSON_TYPES.get(type(value), "any") for name, value in (first.values if first else {}).items()}


def _model_folder(model: Model) -> Path | None:
    """Find the folder of a model; one from the Hub is where it was kept when it was loaded."""
    name = str(model.model_name_or_path)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", cache_dir=model.cache_dir, revision=model.revision)
    return Path(cached).parent if isinstance(cached, str) else None
