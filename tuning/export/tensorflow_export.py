"""A SavedModel for TensorFlow and TensorFlow Serving, from token ids and attention mask to logits."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem, UserError
from tuning.export.exporter import Options
from tuning.export.gguf_architectures import ARCHITECTURES
from tuning.export.source import Source
from tuning.export.tensorflow_operations import OPERATIONS
from tuning.export.traced import INPUTS, OUTPUT, TracedExporter

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from tuning.export.exporter import Logits

SIGNATURE = "serving_default"
_UNNEEDED = ("_assert", "sym_constrain")
"""Beginnings of the names of operations that only check what was traced."""


class TensorflowExporter(TracedExporter):
    """What torch traces, operation by operation in TensorFlow's words, with the tokenizer beside it."""

    packages, extra = ("tensorflow",), "tensorflow"

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse architectures that nobody has tried, too."""
        yield from super().problems(source, options)
        if source.architecture not in ARCHITECTURES:
            told = f"tensorflow takes {', '.join(sorted(ARCHITECTURES))}"
            yield Problem("model.model_name_or_path", told, source.architecture, "the model's config.json")

    def write_graph(self, program: ExportedProgram, folder: Path) -> None:
        """Write the graph with variables for its weights.

        Raises:
            UserError: the graph has operations that have no word here.
        """
        if unknown := sorted(_unknown_operations(program)):
            raise UserError(f"tensorflow: no operation is known here for torch's {', '.join(unknown)}")
        tf = _tensorflow()
        module = tf.Module()
        module.weights, bound = _weights(tf, program)
        ends = [tf.TensorSpec([None, None], tf.int64, name=name) for name in INPUTS]

        def serve(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            return {OUTPUT: _run(tf, program, {**bound, INPUTS[0]: input_ids, INPUTS[1]: attention_mask})}

        module.serve = tf.function(serve, input_signature=ends, autograph=False)
        tf.saved_model.save(module, str(folder), {SIGNATURE: module.serve})

    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Load it with TensorFlow, and call the signature that is served."""
        import torch

        serve = _tensorflow().saved_model.load(str(folder)).signatures[SIGNATURE]

        def logits(ids: Tensor, mask: Tensor) -> Tensor:
            return torch.from_numpy(serve(input_ids=ids.numpy(), attention_mask=mask.numpy())[OUTPUT].numpy())

        return logits

    def facts(self, folder: Path) -> dict[str, Any]:
        """Tell the signature and the names of its ends."""
        return {"signature": SIGNATURE, "inputs": list(INPUTS), "outputs": [OUTPUT]}


def _tensorflow() -> Any:
    """Import TensorFlow without its greetings; a fault still speaks."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return importlib.import_module("tensorflow")


def _weights(tf: Any, program: ExportedProgram) -> tuple[list[Any], dict[str, Any]]:
    """Make a variable of each weight, one of those that are tied; returns them, and by the names in the graph."""
    signature, made = program.graph_signature, {}
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    values = {**program.state_dict, **program.constants}
    bound = {}
    for name, source_name in names.items():
        value = values[source_name].detach()
        key = (value.data_ptr(), tuple(value.shape))
        if key not in made:
            made[key] = tf.Variable(value.numpy(), trainable=False, name=source_name.replace(".", "_"))
        bound[name] = made[key]
    bound |= {
        name: tf.constant(values[given].numpy()) for name, given in signature.inputs_to_lifted_tensor_constants.items()
    }
    return list(made.values()), bound


def _unknown_operations(program: ExportedProgram) -> set[str]:
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    names = {_name(target) for target in targets if hasattr(target, "_schema")}
    return {name for name in names if name not in OPERATIONS and not name.startswith(_UNNEEDED)}


def _name(target: Any) -> str:
    """Return torch's name of an operation, whatever kinds of arguments it is for."""
    return str(target._schema.name).partition("::")[2]


def _run(tf: Any, program: ExportedProgram, values: dict[str, Any]) -> Any:
    """Compute the nodes of the graph, one after the other; `values` holds its inputs by name."""
    from torch.fx.node import map_arg

    def value_of(given: Any) -> Any:
        return map_arg(given, lambda node: values[node.name])

    for node in program.graph.nodes:
        if node.op == "output":
            return values[node.args[0][0].name]
        if node.op == "call_function":
            args, kwargs = value_of(node.args), value_of(node.kwargs)
            values[node.name] = _computed(tf, node, args, kwargs)
    raise AssertionError("a graph ends with its output")


def _computed(tf: Any, node: Any, args: Any, kwargs: Any) -> Any:
    """Compute one node: torch's operation, or Python's on sizes and lists."""
    if not hasattr(node.target, "_schema"):
        return node.target(*args, **kwargs)
    name = _name(node.target)
    if name.startswith(_UNNEEDED):
        return None
    dtype = getattr(node.meta.get("val"), "dtype", None)
    known = getattr(tf, str(dtype).removeprefix("torch.")) if dtype is not None else None
    return OPERATIONS[name](tf, known, *args, **_without_places(kwargs))


def _without_places(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Leave out where and how torch keeps a tensor, and the type, which the node's result tells."""
    return {name: value for name, value in kwargs.items() if name not in ("device", "layout", "pin_memory", "dtype")}
