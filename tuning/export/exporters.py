"""The formats by name."""

from __future__ import annotations

from tuning.errors import UserError
from tuning.export.exporter import Exporter
from tuning.registry import Registry

EXPORTERS: Registry[type[Exporter]] = Registry(
    "format",
    {
        "adapter": "tuning.export.adapter_export:AdapterExporter",
        "gguf": "tuning.export.gguf_export:GgufExporter",
        "onnx": "tuning.export.onnx_export:OnnxExporter",
        "tensorflow": "tuning.export.tensorflow_export:TensorflowExporter",
        "torch": "tuning.export.torch_export:TorchExporter",
    },
    "tuning.exporters",
)


def new_exporter(name: str) -> Exporter:
    """Make the exporter of a format.

    Raises:
        UserError: there is no such format, or the class that a package has for it lacks a method.
    """
    kind = EXPORTERS.load(name)
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        raise UserError(f"format '{name}': {kind.__module__}.{kind.__qualname__} has no {', '.join(missing)}; mend it")
    return kind()
