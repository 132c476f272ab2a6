from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import UserError
from tuning.export.exporter import Exporter, Options
from tuning.export.exporters import EXPORTERS, new_exporter
from tuning.export.exporting import Exported, export_model
from tuning.export.loaded import Loaded
from tuning.export.source import find_source
from tuning.export.torch_export import TorchExporter

pytestmark = pytest.mark.slow


def export(model: Path, name: str, folder: Path, quantize: str | None = None) -> Exported:
    return export_model(find_source(str(model)), name, folder, Options(quantize))


class Faulty(TorchExporter):
    """The format torch, with one number of one weight changed after it was written."""

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        from safetensors.torch import load_file, save_file

        super().write(loaded, folder, options)
        weights = load_file(folder / "model.safetensors")
        weights["model.layers.0.mlp.down_proj.weight"][3] += 0.5
        save_file(weights, folder / "model.safetensors", {"format": "pt"})


class Torn(TorchExporter):
    """The format torch, cut off in the middle of its weights."""

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        super().write(loaded, folder, options)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("fault", "told"), [(Faulty, "logits differ by up to"), (Torn, "cannot be read again")], ids=["changed", "torn"]
)
def test_a_planted_fault_is_found_and_nothing_is_left(
    fault: Any, told: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS._registered, "faulty", fault)
    with pytest.raises(UserError, match=told):
        export(tiny_model, "faulty", tmp_path / "made" / "for it" / "out")
    assert list(tmp_path.iterdir()) == []


class Overtaken(TorchExporter):
    """The format torch, while somebody else writes to the folder that it is to have."""

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        super().write(loaded, folder, options)
        (folder.parent / "out").mkdir()
        (folder.parent / "out" / "theirs").touch()


def test_what_has_come_to_be_there_meanwhile_stays(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXPORTERS._registered, "overtaken", Overtaken)
    with pytest.raises(UserError, match="has come to be there"):
        export_model(find_source(str(tiny_model)), "overtaken", tmp_path / "out", replace=True)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/theirs"]


def test_an_export_tells_how_it_was_compared(tiny_model: Path, tmp_path: Path) -> None:
    made = export(tiny_model, "torch", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (told["format"], told["dtype"], told["comparison"]["num_prompts"]) == ("torch", "float32", 16)
    assert told["comparison"]["max_difference"] == made.comparison.max_difference <= 1e-4
    assert told["comparison"]["same_greedy_text"]
    assert told["versions"]["torch"]


def test_a_folder_that_is_there_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is there already"):
        export(tiny_model, "torch", tmp_path)


def test_an_earlier_export_is_replaced_where_that_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    export(tiny_model, "torch", tmp_path / "out")
    (tmp_path / "out" / "of the earlier one").touch()
    export_model(find_source(str(tiny_model)), "torch", tmp_path / "out", replace=True)
    assert not (tmp_path / "out" / "of the earlier one").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_no_export_is_never_replaced(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="it is there already"):
        export_model(find_source(str(tiny_model)), "torch", tmp_path / "mine", replace=True)


def test_a_full_disk_is_refused_before_anything_is_loaded(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.export.exporter.model_bytes", lambda source: 2**60)
    with pytest.raises(UserError, match="GiB are needed on the disk"):
        export(tiny_model, "torch", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_is_quantized_on_disk_is_refused_by_name(tiny_config_only_model: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_config_only_model / "config.json").read_text())
    (tmp_path / "model").mkdir()
    quantized = {**config, "quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(quantized))
    with pytest.raises(UserError, match=r"quantized \(gptq\)"):
        export(tmp_path / "model", "torch", tmp_path / "out")


def test_a_type_of_the_format_torch_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="keep the type of the base; gguf quantizes"):
        export(tiny_model, "torch", tmp_path / "out", "q8_0")


def test_a_missing_package_is_an_extra_to_install(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'tuning\[gguf\]'"):
        export(tiny_model, "gguf", tmp_path / "out")


def test_a_format_whose_class_lacks_a_method_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half(Exporter):
        def write(self, loaded: Any, folder: Path, options: Any) -> None:
            (folder / "half").touch()

    monkeypatch.setitem(EXPORTERS._registered, "half", Half)
    with pytest.raises(UserError, match=r"format 'half': .*Half has no read"):
        new_exporter("half")
