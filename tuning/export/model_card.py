"""The page that goes with an export: what it is, what it was made from, how good it is, and how it is loaded."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.export.comparison import Comparison
from tuning.export.source import Source
from tuning.manifest import MANIFEST_FILE
from tuning.saved_model import read_json
from tuning.score_names import is_score
from tuning.trackers.redaction import redact

CARD_FILE = "README.md"
_SETTINGS = (
    "peft.peft_method",
    "peft.r",
    "peft.lora_alpha",
    "training.learning_rate",
    "training.num_train_epochs",
    "training.max_steps",
    "training.per_device_train_batch_size",
    "training.gradient_accumulation_steps",
    "training.max_length",
    "training.packing",
    "training.seed",
    "model.dtype",
)
_LOADING = {
    "adapter": "vllm serve {base} --enable-lora --lora-modules {name}={folder}",
    "gguf": "llama-cli --model {folder}/model.gguf --prompt 'The river'",
    "onnx": "onnxruntime.InferenceSession('{folder}/model.onnx')",
    "tensorflow": "tensorflow.saved_model.load('{folder}').signatures['serving_default']",
    "torch": "transformers.AutoModelForCausalLM.from_pretrained('{folder}')",
}


def write_model_card(source: Source, folder: Path, name: str, dtype: str, comparison: Comparison) -> None:
    """Write README.md into the folder of an export, from the run's own records."""
    lines = [*_front_matter(source), *_introduction(source, name, dtype), *_loading(source, name)]
    lines += [*_comparison(comparison), *_scores(source), *_training(source)]
    (folder / CARD_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _front_matter(source: Source) -> Iterator[str]:
    """Lay out what the Hub reads: base, license and tags, as JSON, which YAML includes."""
    found: dict[str, Any] = {"base_model": _named(_base(source)), "pipeline_tag": "text-generation"}
    license_name = _license(source)
    if license_name is not None:
        found["license"] = license_name
    found["tags"] = ["tuning", *(["lora"] if source.adapter_config else [])]
    yield from (
        "---",
        *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items()),
        "---",
        "",
    )


def _introduction(source: Source, name: str, dtype: str) -> Iterator[str]:
    what = "An adapter for" if name == "adapter" else "A model made from"
    license_name = _license(source) or "not stated beside its weights; look it up before you pass this on"
    yield from (f"# {source.name}", "")
    yield from (f"{what} `{_named(_base(source))}` ({source.architecture}), as {name} in {dtype}.", "")
    if name != "adapter" and source.invocation_tokens:
        yield from (
            "Merged from an aLoRA: use it with texts that begin with the invocation, on which it was compared.",
            "",
        )
    yield from (f"License of the base: {license_name}.", "")


def _loading(source: Source, name: str) -> Iterator[str]:
    command = _LOADING.get(name)
    if command is not None:
        told = command.format(base=_named(_base(source)), name=source.name, folder="FOLDER")
        yield from ("## How to load it", "", "```", told, "```", "")


def _comparison(found: Comparison) -> Iterator[str]:
    text = "the same" if found.same_greedy_text else "not the same"
    yield from (
        "## Compared with the model in torch",
        "",
        f"On {found.num_prompts} prompts ({found.prompts}), {found.num_positions} positions: logits differ by up to "
        f"{found.max_difference:.3g} (their standard deviation is {found.deviation:.3g}), the most likely token is the "
        f"same at {found.top_1:.1%}, the greedy text is {text}.",
        "",
    )


def _scores(source: Source) -> Iterator[str]:
    """Lay out the scores of what the run has ended with, each number as it stands in the run's folder."""
    if source.run_folder is None or source.checkpoint is not None:
        return
    scores = {
        name: value
        for name, value in _measured(source.run_folder).items()
        if isinstance(value, (int, float)) and math.isfinite(value) and is_score(name)
    }
    if scores:
        yield from ("## Scores on held-out rows", "", "| score | value |", "|---|---|")
        yield from (f"| `{name}` | {json.dumps(value)} |" for name, value in scores.items())
        yield ""


def _measured(run_folder: Path) -> dict[str, Any]:
    """Read eval.json or eval.csv, whichever the run has written."""
    if (run_folder / "eval.json").is_file():
        return read_json(run_folder / "eval.json")
    file = run_folder / "eval.csv"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {row["metric"]: float(row["score"]) for row in csv.DictReader(lines) if row["score"]}


def _training(source: Source) -> Iterator[str]:
    manifest = _manifest(source)
    if not manifest:
        return
    values = (manifest.get("config") or {}).get("values") or {}
    yield from ("## How it was trained", "", "| setting | value |", "|---|---|")
    for path in _SETTINGS:
        value = _at(values, path)
        if value is not None:
            yield f"| `{path}` | {json.dumps(value)} |"
    yield from ("", *_data(manifest), *_recommendations(source), *_environment(manifest))


def _data(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Name the files of rows, by the fingerprint that the run took of them."""
    for role, found in (manifest.get("data") or {}).items():
        if isinstance(found, Mapping) and found.get("path"):
            paths = found["path"] if isinstance(found["path"], list) else [found["path"]]
            names = ", ".join(f"`{_named(str(path))}`" for path in paths)
            yield f"Rows for {role}: from {names} ({found.get('rows')} rows, SHA-256 `{found.get('sha256')}`)."
            yield ""


def _recommendations(source: Source) -> Iterator[str]:
    file = Path(str(source.run_folder)) / "recommendations.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    taken = [one for one in found if isinstance(one, dict) and one.get("patch")] if isinstance(found, list) else []
    if comments := [one["comment"] for one in taken if one.get("comment")]:
        yield from ("What was left out was recommended:", "", *(f"- {comment}" for comment in comments), "")


def _environment(manifest: Mapping[str, Any]) -> Iterator[str]:
    packages = (manifest.get("environment") or {}).get("packages") or {}
    named = [f"{name} {packages[name]}" for name in ("torch", "transformers", "trl", "peft") if name in packages]
    if named:
        yield from (f"Trained with {', '.join(named)}.", "")


def _manifest(source: Source) -> dict[str, Any]:
    if source.run_folder is None:
        return {}
    try:
        return redact(read_json(source.run_folder / MANIFEST_FILE))
    except UserError:
        return {}


def _base(source: Source) -> str:
    """Name the model that the training began with; of one that no run has made, the model itself."""
    if source.adapter_config is not None:
        return source.saved.base
    section = (_manifest(source).get("config") or {}).get("values") or {}
    return str(_at(section, "model.model_name_or_path") or source.saved.base)


def _license(source: Source) -> str | None:
    """Read the license from the base's own card; a Hub id's card is not fetched for it."""
    file = Path(_base(source)).expanduser() / CARD_FILE
    try:
        head = file.read_text(encoding="utf-8").partition("\n---")[0]
    except (OSError, ValueError):
        return None
    if not head.startswith("---"):
        return None
    named = [line.partition(":")[2].strip() for line in head.splitlines() if line.startswith("license:")]
    return named[0] if named else None


def _named(path: str) -> str:
    """Name a folder or a file without the folders above it, which are nobody's business; a Hub id stays."""
    is_local = Path(path).expanduser().exists() or path.startswith((".", "/", "~"))
    return Path(path).name if is_local else path


def _at(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
