from __future__ import annotations

import pytest

from tuning.data.special_tokens import choose_pad_token


@pytest.mark.parametrize(
    ("tokens", "eos_token", "unk_token", "chosen"),
    [
        (["</s>", "<pad>", "<unk>"], "</s>", "<unk>", "<pad>"),
        (["<pad>", "<unk>"], "<pad>", "<unk>", "<unk>"),
        (["<|end_of_text|>", "<|reserved_special_token_1|>", "<|reserved_special_token_0|>"], None, None, 1),
        (["<|end_of_text|>", "<|finetune_right_pad_id|>", "<|reserved_special_token_0|>"], None, None, 1),
        (["</s>", "<unused7>"], "</s>", "<unk>", "<unused7>"),
        (["</s>"], "</s>", "<unk>", "<unk>"),
        (["<|endoftext|>"], "<|endoftext|>", "<|endoftext|>", "<pad>"),
        ([], None, None, "<pad>"),
    ],
)
def test_a_token_that_is_never_a_target_pads(
    tokens: list[str], eos_token: str | None, unk_token: str | None, chosen: str | int
) -> None:
    ids = {token: number for number, token in enumerate(tokens)}
    expected = tokens[chosen] if isinstance(chosen, int) else chosen
    assert choose_pad_token(ids, eos_token, unk_token) == expected
