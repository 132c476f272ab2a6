"""Score a saved model or adapter on held-out rows: `python -m benchmarks.score BASE SAVED ROWS` prints the loss.

The same measure for every system: the mean negative log-likelihood of the answers' tokens, in float32, row by row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_LONGEST = 2048
"""Tokens of a row that are scored."""


def held_out_loss(base: Path, saved: Path, rows: Path) -> float:
    """Return the mean loss over the tokens of all answers."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = _load(base, saved)
    total, num_tokens = 0.0, 0
    with torch.inference_mode():
        for line in rows.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
            answer = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            ids = torch.tensor([[*prompt, *answer][:_LONGEST]], device=model.device)
            first = min(len(prompt), ids.shape[1] - 1)
            log_probs = model(input_ids=ids).logits[0, first - 1 : -1].float().log_softmax(-1)
            total -= log_probs.gather(1, ids[0, first:, None]).sum().item()
            num_tokens += ids.shape[1] - first
    return total / num_tokens


def _load(base: Path, saved: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    is_adapter = (saved / "adapter_config.json").exists()
    model: Any = AutoModelForCausalLM.from_pretrained(base if is_adapter else saved, dtype=torch.float32)
    if is_adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(saved))
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def main(argv: Sequence[str]) -> int:
    """Print the loss of one model."""
    base, saved, rows = map(Path, argv)
    print(held_out_loss(base, saved, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
