"""The section of a run's configuration that says what the trained model becomes."""

from __future__ import annotations

from tuning.config.section import Section
from tuning.config.types import Names, Text


class Export(Section):
    """What the model is written as once it is trained and saved; each file is read again and compared."""

    export_formats: Names | None = None
    """Formats to export at the end of the run: torch, gguf, onnx, tensorflow, adapter. None: none."""
    export_quantize: Text | None = None
    """Type of gguf's weights: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0. None: the model's."""
    export_dir: Text | None = None
    """Folder for the exports, one in it for each. None: export in the run folder."""
    export_max_shard_size: Text = "5GB"
    """Largest file of weights of the format torch, as in 500MB."""
