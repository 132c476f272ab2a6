from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.plain_adapters import becomes_plain, keep_start, make_plain


@pytest.mark.slow
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_2", "olora"])
@pytest.mark.parametrize("scale", [{}, {"use_rslora": True}, {"target_modules": ["q_proj", "embed_tokens"]}])
def test_an_adapter_that_changed_its_base_says_the_same_on_the_base_as_it_was(
    start: str, scale: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    made = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(r=4, init_lora_weights=start, **{"target_modules": "all-linear", **scale}),  # type: ignore[arg-type]
    )
    keep_start(made, tmp_path)
    for name, parameter in made.named_parameters():
        parameter.data += 0.05 if "lora_" in name else 0.0
    made.save_pretrained(tmp_path / "saved")
    make_plain(tmp_path / "saved", tmp_path)
    ids = torch.arange(20)[None]
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), tmp_path / "saved")
    with torch.no_grad():
        assert (plain(input_ids=ids).logits - made.eval()(input_ids=ids).logits).abs().max() < 1e-4
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["init_lora_weights"] is True


@pytest.mark.parametrize(("start", "found"), [(True, False), ("gaussian", False), (None, False), ("PISSA", True)])
def test_plain_adapters_are_left_as_they_are(start: object, found: bool) -> None:
    assert becomes_plain(start) is found
