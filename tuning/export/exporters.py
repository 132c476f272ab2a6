"""The formats by name."""

from __future__ import annotations

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
