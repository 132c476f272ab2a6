"""Malformed models, tokenizers, templates and adapters for `tune run`: each with a part of its one message."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malformed import Case, model, rows, weights, words
from malformed_configs import PICKLE

INDEX = "model.safetensors.index.json"
CODE = "import os\nos.mkdir('pwned')\n"


def header(**tensors: Any) -> bytes:
    """Write a safetensors file of so many bytes as its header says, at the most."""
    text = json.dumps(tensors).encode()
    ends = [each["data_offsets"][1] for each in tensors.values() if isinstance(each, dict) and "data_offsets" in each]
    return weights(text) + b"\0" * min(max(ends, default=0), 64)


def tensor(start: int = 0, end: int = 16, dtype: str = "F32", shape: Any = (2, 2)) -> dict[str, Any]:
    """Describe a tensor as a header does."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def changed(**values: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Change the model's `config.json`; null takes a key out."""

    def write(folder: Path) -> None:
        file = folder / "model" / "config.json"
        document = {**json.loads(file.read_text()), **values}
        file.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))

    return ("run.json",), write


def cut(share: float, name: str = "model.safetensors") -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Keep the first part of one of the model's files."""

    def write(folder: Path) -> None:
        file = folder / "model" / name
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return ("run.json",), write


def indexed(index: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Give the model an index of parts in the place of its weights."""

    def write(folder: Path) -> None:
        (folder / "model" / "model.safetensors").rename(folder / "outside.safetensors")
        (folder / "model" / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))

    return ("run.json",), write


def pickled(name: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Give the model pickled weights, as an archive of torch's, in the place of its own."""

    def write(folder: Path) -> None:
        (folder / "model" / "model.safetensors").unlink()
        (folder / "model" / name).write_bytes(archive())

    return ("run.json",), write


def archive() -> bytes:
    """Write a file as `torch.save` does, whose pickle is the canary."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archived:
        archived.writestr("archive/data.pkl", PICKLE)
        archived.writestr("archive/version", "3\n")
    return sink.getvalue()


def remote(**auto_map: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Have the model's configuration name code of its own."""
    words, write = changed(auto_map=auto_map, model_type="evil")

    def both(folder: Path) -> None:
        write(folder)
        (folder / "model" / "modeling.py").write_text(CODE)

    return words, both


def template(text: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Give the tokenizer a chat template, and rows that go through it."""
    row = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    words, write = rows(row * 4)

    def both(folder: Path) -> None:
        write(folder)
        (folder / "model" / "chat_template.jinja").write_text(text)

    return words, both


def scaled(folder: Path) -> None:
    """Say another width in the configuration than the weights have."""
    changed(hidden_size=32, head_dim=16)[1](folder)


def headless(folder: Path) -> None:
    """Take the last layer's weights out of the file, and say nothing of it."""
    file = folder / "model" / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = json.loads(content[8 : 8 + length])
    last = max((each for each in tensors if each != "__metadata__"), key=lambda each: tensors[each]["data_offsets"][1])
    start = tensors.pop(last)["data_offsets"][0]
    file.write_bytes(weights(json.dumps(tensors).encode()) + content[8 + length :][:start])


WEIGHTS: dict[str, Case] = {
    "plain, and read as GPTQ's": Case(
        "peft.quantization.auto_gptq",
        *words('plugins={"peft": {"quantization": {"auto_gptq": {}}}}', "peft_method=lora"),
    ),
    "of no experts, and trained as such": Case("training.moe", *words('plugins={"training": {"moe": {}}}')),
    "a compiler that is not there": Case("compile", *words('plugins={"training": {"compile": {"backend": "nope"}}}')),
    "cut in half": Case("model.safetensors", *cut(0.5)),
    "cut in the header": Case("model.safetensors", *cut(0.001)),
    "of no bytes": Case("model.safetensors", *cut(0)),
    "of seven bytes": Case("model.safetensors", *model("model.safetensors", b"\0" * 7)),
    "a header beyond the file": Case("model.safetensors", *model("model.safetensors", weights(b"{}", 1 << 40))),
    "a header of 2^63 bytes": Case("model.safetensors", *model("model.safetensors", weights(b"{}", 1 << 63))),
    "a header that is no JSON": Case("model.safetensors", *model("model.safetensors", weights(b"{" * 64))),
    "a header that is a list": Case("model.safetensors", *model("model.safetensors", weights(b"[[1]]"))),
    "a header that is deep": Case("model.safetensors", *model("model.safetensors", weights(b'{"a":' * 50_000))),
    "a tensor that is a number": Case("model.safetensors", *model("model.safetensors", header(a=7))),
    "an unknown type": Case("model.safetensors", *model("model.safetensors", header(a=tensor(dtype="F31")))),
    "a shape of texts": Case("model.safetensors", *model("model.safetensors", header(a=tensor(shape=["x"])))),
    "a negative shape": Case("model.safetensors", *model("model.safetensors", header(a=tensor(shape=[-2, -2])))),
    "a shape of 400 digits": Case("model.safetensors", *model("model.safetensors", header(a=tensor(shape=[10**400])))),
    "a shape of another size": Case("model.safetensors", *model("model.safetensors", header(a=tensor(shape=[3])))),
    "offsets beyond the file": Case("model.safetensors", *model("model.safetensors", header(a=tensor(0, 1 << 50)))),
    "offsets in another order": Case("model.safetensors", *model("model.safetensors", header(a=tensor(16, 0)))),
    "offsets that overlap": Case(
        "model.safetensors", *model("model.safetensors", header(a=tensor(0, 16), b=tensor(8, 24)))
    ),
    "offsets with a hole": Case(
        "model.safetensors", *model("model.safetensors", header(a=tensor(0, 16), b=tensor(32, 48)))
    ),
    "a pickle by that name": Case("model.safetensors", *model("model.safetensors", PICKLE)),
    "an index without parts": Case(INDEX, *indexed({"weight_map": {}})),
    "an index that is a list": Case(INDEX, *indexed([1])),
    "an index that is torn": Case(INDEX, *indexed('{"weight_map": {"a":')),
    "an index that is deep": Case(INDEX, *indexed("[" * 100_000)),
    "an index of numbers": Case(INDEX, *indexed({"weight_map": {"a": 7}})),
    "a part that is not there": Case("part-2.safetensors", *indexed({"weight_map": {"a": "part-2.safetensors"}})),
    "a part out of the folder": Case("outside.safetensors", *indexed({"weight_map": {"a": "../outside.safetensors"}})),
    "a part at the root": Case("/etc/passwd", *indexed({"weight_map": {"a": "/etc/passwd"}})),
    "none": Case("the folder holds no weights", ("run.json",), lambda at: (at / "model/model.safetensors").unlink()),
    "pickled": Case("the weights are pickled", *pickled("pytorch_model.bin")),
    "pickled in another name": Case("the weights are pickled", *pickled("consolidated.00.pth")),
    "a checkpoint's pickle": Case("the weights are pickled", *pickled("model.ckpt")),
}

SHAPES: dict[str, Case] = {
    "no config.json": Case("holds no config.json", ("run.json",), lambda at: (at / "model/config.json").unlink()),
    "cut": Case("config.json", *cut(0.5, "config.json")),
    "empty": Case("config.json", *model("config.json", "")),
    "a list": Case("config.json", *model("config.json", "[1]")),
    "no UTF-8": Case("config.json", *model("config.json", bytes(range(256)))),
    "deep": Case("config.json", *model("config.json", '{"a":' * 50_000)),
    "no type": Case("model", *changed(model_type=None)),
    "a type that is a list": Case("model", *changed(model_type=["llama"])),
    "an unknown type": Case("model", *changed(model_type="llamma")),
    "an encoder": Case("is an encoder", *changed(model_type="bert", architectures=["BertForMaskedLM"])),
    "an encoder and a decoder": Case("t5 is no causal", *changed(model_type="t5", architectures=["T5Model"])),
    "an image model": Case("vit is no causal", *changed(model_type="vit", architectures=["ViTModel"])),
    "a width that is a text": Case("hidden_size", *changed(hidden_size="big")),
    "a negative width": Case("hidden_size is -64", *changed(hidden_size=-64)),
    "no layers": Case("num_hidden_layers is -1", *changed(num_hidden_layers=-1)),
    "heads that do not divide": Case("model", *changed(num_attention_heads=3, head_dim=None)),
    "a width of 30 digits": Case("model", *changed(hidden_size=10**30), told_while_loading=True),
    "an unknown activation": Case("silly", *changed(hidden_act="silly"), told_while_loading=True),
    "an unknown dtype": Case("model", *changed(dtype="float31")),
    "another width than the weights": Case("have another shape", ("run.json",), scaled, told_while_loading=True),
    "a weight too few": Case("1 are not there", ("run.json",), headless, told_while_loading=True),
    "an unknown attention": Case(
        "attn_implementation", *words("attn_implementation=telepathy"), told_while_loading=True
    ),
    "an unknown quantization": Case("quant_method evil", *changed(quantization_config={"quant_method": "evil"})),
    "a quantization that is a list": Case("model", *changed(quantization_config=[1])),
    "code of its own": Case("trust_remote_code", *remote(AutoConfig="modeling.Config")),
    "a model of its own": Case("model", *remote(AutoModelForCausalLM="modeling.Model")),
    "code of another's": Case("model", *remote(AutoConfig="somebody/else--modeling.Config")),
    "code by a path": Case("model", *remote(AutoConfig="../../modeling.Config")),
    "layers that are not there": Case(
        "Target modules {'nope'}", *words("peft_method=lora", 'target_modules=["nope"]'), told_while_loading=True
    ),
    "an end token that is not there": Case("training.eos_token", *words("eos_token=<nope>")),
}

TOKENIZERS: dict[str, Case] = {
    "none": Case("no tokenizer", ("run.json",), lambda at: (at / "model/tokenizer.json").unlink()),
    "cut": Case("tokenizer", *cut(0.5, "tokenizer.json")),
    "empty": Case("tokenizer", *model("tokenizer.json", "")),
    "an empty object": Case("tokenizer", *model("tokenizer.json", "{}")),
    "a list": Case("tokenizer", *model("tokenizer.json", "[]")),
    "garbage": Case("tokenizer", *model("tokenizer.json", bytes(range(256)))),
    "deep": Case("tokenizer", *model("tokenizer.json", "[" * 100_000)),
    "of another type": Case("tokenizer", *model("tokenizer.json", '{"model": {"type": "BPE", "vocab": 7}}')),
    "an unknown type": Case("tokenizer", *model("tokenizer.json", '{"model": {"type": "Evil", "vocab": {}}}')),
    "settings that are a list": Case("tokenizer", *model("tokenizer_config.json", "[1]")),
    "settings that are torn": Case("tokenizer", *model("tokenizer_config.json", '{"eos_token": "')),
    "an unknown class": Case("tokenizer", *model("tokenizer_config.json", '{"tokenizer_class": "EvilTokenizer"}')),
    "code of its own": Case(
        "tokenizer",
        *model(
            "tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["modeling.T", null]}, "tokenizer_class": "T"}'
        ),
    ),
    "no end token": Case(
        "has no end token", *model("tokenizer_config.json", '{"tokenizer_class": "TokenizersBackend"}')
    ),
    "a pickle": Case("tokenizer", *model("tokenizer.json", PICKLE)),
    "ids beyond the vocabulary": Case("input_ids", *rows('{"input_ids": [1, 999999999]}\n')),
    "labels beyond the vocabulary": Case("labels", *rows('{"input_ids": [1, 2], "labels": [1, 999999999]}\n')),
}

TEMPLATES: dict[str, Case] = {
    "no Jinja": Case("template", *template("{% for %}")),
    "a failure": Case("no thanks", *template("{{ raise_exception('no thanks') }}")),
    "a division by nothing": Case("template", *template("{{ 1 / 0 }}")),
    "a look around": Case("template", *template("{{ ''.__class__.__mro__[1].__subclasses__() }}")),
    "a look at its globals": Case("no response within", *template("{{ raise_exception.__globals__ }}")),
    "a look through a cycler": Case("template", *template("{{ cycler.__init__.__globals__.os.mkdir('pwned') }}")),
    "a look through a name": Case("template", *template("{{ self.__init__.__globals__ }}")),
    "a look by attr": Case("no response within", *template("{{ ''|attr('__class__')|attr('__mro__') }}")),
    "a look by format": Case("template", *template("{{ '{0.__class__.__mro__}'.format(messages) }}{{ nope.x }}")),
    "an import": Case("template", *template("{% import 'os' as os %}{{ os.mkdir('pwned') }}")),
    "an include": Case("template", *template("{% include '/etc/passwd' %}")),
    "a change of what it is given": Case("template", *template("{{ messages.clear() }}")),
    "a range without end": Case("template", *template("{{ range(10 ** 12) | list }}")),
    "a text without end": Case("template", *template("{{ 'a' * 10 ** 12 }}")),
    "a power without end": Case("template", *template("{{ 9 ** 9 ** 9 }}")),
    "itself without end": Case("template", *template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")),
    "no text": Case("template", *template("{{ messages[7].content.x }}")),
    "no UTF-8": Case(
        "model.chat_template_path",
        ("run.json", "chat_template_path=model"),
        lambda folder: (folder / "model/chat_template.jinja").write_bytes(b"\xff\xfe"),
    ),
    "a path to nothing": Case("model.chat_template_path", *words("chat_template_path=none.jinja")),
}

ALL = {
    f"{about}: {name}": case
    for about, cases in (
        ("weights", WEIGHTS),
        ("config.json", SHAPES),
        ("tokenizer", TOKENIZERS),
        ("template", TEMPLATES),
    )
    for name, case in cases.items()
}
