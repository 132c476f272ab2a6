from __future__ import annotations

import pytest
import torch
from kernel_families import gradients, joined, largest_difference, rows, tiny

from tuning.acceleration import varlen_attention
from tuning.acceleration.supported import VARLEN_ATTENTION, why_no_varlen_attention
from tuning.acceleration.varlen_attention import ATTENTION, Rows, register_varlen_attention, varlen_mask

register_varlen_attention()

FIRST = ("llama", "qwen3", "granite", "gpt2", "mistral", "gemma")


@pytest.mark.parametrize(
    "model_type",
    [*FIRST, *(pytest.param(each, marks=pytest.mark.slow) for each in sorted(VARLEN_ATTENTION - set(FIRST)))],
)
def test_logits_and_gradients_are_those_of_each_row_by_itself(model_type: str) -> None:
    model, parts = tiny(model_type), rows()
    wanted = torch.cat([model(part[None], use_cache=False).logits[0] for part in parts])
    wanted_gradients = gradients(model, wanted.square().mean())
    model.set_attn_implementation(ATTENTION)
    found = model(**joined(parts), use_cache=False).logits[0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.detach().abs().max()))
    assert largest_difference(gradients(model, found.square().mean()), wanted_gradients) < 1e-5


def test_no_mask_of_all_tokens_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    model.set_attn_implementation(ATTENTION)
    monkeypatch.setattr(varlen_attention, "sdpa_mask", None)
    assert model(**joined(rows()), use_cache=False).logits.shape[1] == sum(map(len, rows()))


def test_rows_longer_than_the_window_alone_have_masks() -> None:
    def within_window(_: object, __: object, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        row = torch.tensor([0] * 3 + [1] * 6)
        return (row[query] == row[key]) & (key <= query) & (key > query - 4)

    found = varlen_mask(1, 9, 9, mask_function=within_window)
    assert isinstance(found, Rows)
    assert found.lengths == (3, 6)
    assert found.masks[0] is None
    assert found.masks[1] is not None and found.masks[1].sum() == 1 + 2 + 3 + 4 + 4 + 4


def test_a_token_that_sees_ahead_gets_the_whole_mask() -> None:
    def both_ways(_: object, __: object, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (query < 3) == (key < 3)

    assert isinstance(varlen_mask(1, 6, 6, mask_function=both_ways, allow_is_causal_skip=False), torch.Tensor)


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt2"])
def test_padded_batches_are_those_of_sdpa(model_type: str) -> None:
    model = tiny(model_type).eval()
    input_ids, mask = torch.stack([rows((9,))[0]] * 2), torch.ones(2, 9, dtype=torch.long)
    mask[0, 5:] = 0
    wanted = model(input_ids, attention_mask=mask).logits
    model.set_attn_implementation(ATTENTION)
    torch.testing.assert_close(model(input_ids, attention_mask=mask).logits, wanted)


@pytest.mark.parametrize("model_type", ["llama", "mistral"])
def test_generation_writes_the_same_tokens(model_type: str) -> None:
    model, prompt = tiny(model_type).eval(), rows((9,))[0][None]
    options = {
        "max_new_tokens": 12,
        "min_new_tokens": 12,
        "do_sample": False,
        "attention_mask": torch.ones_like(prompt),
    }
    wanted = model.generate(prompt, **options)
    model.set_attn_implementation(ATTENTION)
    assert model.generate(prompt, **options).tolist() == wanted.tolist()


def test_gradient_checkpointing_changes_nothing() -> None:
    model, batch = tiny("qwen3").train(), joined(rows())
    model.set_attn_implementation(ATTENTION)
    wanted = gradients(model, model(**batch, use_cache=False).logits.square().mean())
    model.gradient_checkpointing_enable()
    found = gradients(model, model(**batch, use_cache=False).logits.square().mean())
    assert largest_difference(found, wanted) < 1e-6


def test_half_precision_by_autocast_stays_near() -> None:
    model, batch = tiny("llama"), joined(rows())
    wanted = model(**batch, use_cache=False).logits
    model.set_attn_implementation(ATTENTION)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**batch, use_cache=False).logits.float()
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.02)


def test_the_name_is_not_saved_with_the_model() -> None:
    model = tiny("llama")
    model.set_attn_implementation(ATTENTION)
    assert ATTENTION not in model.config.to_json_string()


@pytest.mark.parametrize("model_type", ["gemma2", "gpt_oss", "mamba", "bloom", "a_type_of_next_year", None])
def test_other_models_are_told_why_not(model_type: str | None) -> None:
    assert why_no_varlen_attention(model_type)
    assert why_no_varlen_attention("llama") is None
