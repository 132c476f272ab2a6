"""The reader that is lent to transformers says what gguf's own says, and is taken back."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from tiny_families import MakeModel

from tuning.errors import UserError
from tuning.export.exporting import export_model
from tuning.export.gguf_reading import load_gguf, reading_fast
from tuning.export.source import find_source

gguf = pytest.importorskip("gguf")


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
        assert not gc.isenabled()
        found = gguf.GGUFReader(str(file))
        assert gguf.GGUFReader(str(file)) is found
        assert gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2) is gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)

    assert type(found.data) is np.ndarray
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == own
    said = {name: field.contents() for name, field in found.fields.items()}
    assert said == {name: field.contents() for name, field in expected.fields.items()}
    assert said["tokenizer.ggml.tokens"] == ["a", "Füße", "河"]
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        assert (one.name, one.tensor_type, one.data_offset) == (other.name, other.tensor_type, other.data_offset)
        np.testing.assert_array_equal(one.data, other.data)


def test_a_file_that_is_none_is_refused_and_the_reader_taken_back(tmp_path: Path) -> None:
    file, own = tmp_path / "model.gguf", (gguf.GGUFReader, gguf.get_tensor_name_map)
    file.write_bytes(b"no gguf at all" * 10)
    with pytest.raises(ValueError, match="magic"), reading_fast():
        gguf.GGUFReader(str(file))
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == own
    assert gc.isenabled()


@pytest.mark.slow
def test_a_token_in_the_place_of_another_is_refused(family: MakeModel, tmp_path: Path) -> None:
    source = find_source(str(family("llama")))
    export_model(source, "gguf", tmp_path / "out")
    file = tmp_path / "out" / "model.gguf"
    tokens = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    token = max(tokens[:256], key=lambda one: len(one.encode())).encode()
    number, content = tokens.index(token.decode()), file.read_bytes()
    place = content.index(len(token).to_bytes(8, "little") + token) + 8
    file.write_bytes(content[:place] + b"?" * len(token) + content[place + len(token) :])
    with pytest.raises(UserError, match=f"the id {number} stands for .* in the tokenizer, and for '\\?+' here"):
        load_gguf(file, source, "float32")
