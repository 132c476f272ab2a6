"""What other programs need in a form of their own; it runs in their environment, and imports nothing of this package.

`python -m benchmarks.peer_files MODEL FOLDER` writes the weights of a Llama as litgpt wants them.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class TorchtuneTokenizer:
    """A tokenizer.json for torchtune, which has tokenizers only for models that it knows."""

    pad_id = 0

    def __init__(self, folder: str, max_seq_len: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self._eos_id = json.loads(Path(folder, "config.json").read_text())["eos_token_id"]
        self.max_seq_len = max_seq_len

    def __call__(self, sample: Mapping[str, Any], inference: bool = False) -> dict[str, Any]:
        """Add tokens and mask to a sample, as torchtune asks it of a tokenizer."""
        ids: list[int] = []
        mask: list[bool] = []
        for message in sample["messages"]:
            found = self._tokenizer.encode(message.text_content, add_special_tokens=False).ids
            found += [self._eos_id] * (message.role == "assistant")
            ids += found
            mask += [bool(message.masked)] * len(found)
        rest = {name: value for name, value in sample.items() if name != "messages"}
        return {**rest, "tokens": ids[: self.max_seq_len], "mask": mask[: self.max_seq_len]}


def write_litgpt(model: Path, folder: Path) -> None:
    """Write weights, configuration and tokenizer of a Llama for litgpt."""
    import torch
    from litgpt.config import Config  # pyright: ignore[reportMissingImports]
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama  # pyright: ignore[reportMissingImports]
    from litgpt.utils import save_config  # pyright: ignore[reportMissingImports]
    from safetensors.torch import load_file

    shape = json.loads((model / "config.json").read_text())
    config = Config(
        name="llama",
        block_size=shape["max_position_embeddings"],
        vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"],
        n_layer=shape["num_hidden_layers"],
        n_head=shape["num_attention_heads"],
        n_query_groups=shape["num_key_value_heads"],
        n_embd=shape["hidden_size"],
        intermediate_size=shape["intermediate_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=shape["rms_norm_eps"],
        mlp_class_name="LLaMAMLP",
    )
    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Any] = {}
    copy_weights_hf_llama(config, {}, weights, load_file(model / "model.safetensors"))
    torch.save(weights, folder / "lit_model.pth")
    save_config(config, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder)


def main(argv: Sequence[str]) -> int:
    """Write one folder."""
    model, folder = map(Path, argv)
    write_litgpt(model, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
