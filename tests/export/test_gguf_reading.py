"""The reader that is lent to transformers says what gguf's own says, and is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

gguf = pytest.importorskip("gguf")
np = pytest.importorskip("numpy")

from tuning.export.gguf_reading import reading_fast  # noqa: E402


def _write(file: Path) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_token_list(["a", "Füße", "河"])
    writer.add_token_scores([0.5, -1.0, 2.0])
    writer.add_block_count(2)
    numbers = np.arange(128, dtype=np.float32).reshape(4, 32)
    writer.add_tensor("plain", numbers)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("quantized", gguf.quants.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_file_is_read_as_gguf_reads_it(tmp_path: Path) -> None:
    file, own = tmp_path / "model.gguf", (gguf.GGUFReader, gguf.get_tensor_name_map)
    _write(file)
    expected = gguf.GGUFReader(file)

    with reading_fast():
        assert gguf.GGUFReader is not own[0]
        found = gguf.GGUFReader(file)

    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == own
    said = {name: field.contents() for name, field in found.fields.items()}
    assert said == {name: field.contents() for name, field in expected.fields.items()}
    assert said["tokenizer.ggml.tokens"] == ["a", "Füße", "河"]
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        assert (one.name, one.tensor_type, one.data_offset) == (other.name, other.tensor_type, other.data_offset)
        np.testing.assert_array_equal(one.data, other.data)


def test_a_file_that_is_none_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"no gguf at all" * 10)
    with reading_fast(), pytest.raises(ValueError, match="magic"):
        gguf.GGUFReader(tmp_path / "model.gguf")
