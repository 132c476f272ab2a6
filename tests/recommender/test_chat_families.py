from __future__ import annotations

import pytest

from tuning.data.templates import render_chat
from tuning.recommender.chat_families import chat_family
from tuning.recommender.chat_rows import marks_assistant

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
LLAMA_3 = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
WRITTEN = {
    "qwen2": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
    "llama": "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>",
    "granite": "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>Hello<|end_of_text|>\n",
    "gemma2": "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n",
    "phi3": "<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n",
    "gpt2": "<|im_start|>user\nHi</s>\n<|im_start|>assistant\nHello</s>\n",
}
OTHERS = ["<|im_start|>", "<|im_end|>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"]
TOKENS = [*LLAMA_3, *OTHERS, "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>"]


@pytest.mark.parametrize("model_type", WRITTEN)
def test_a_family_writes_turns_as_its_own_models_do(model_type: str) -> None:
    template = chat_family(model_type, TOKENS).template
    assert render_chat(template, TURNS, bos_token="<s>", eos_token="</s>") == WRITTEN[model_type]
    prompt = render_chat(template, TURNS[:1], bos_token="<s>", eos_token="</s>", add_generation_prompt=True)
    assert WRITTEN[model_type].startswith(prompt)
    assert marks_assistant(template)


@pytest.mark.parametrize(
    ("model_type", "tokens", "name"),
    [
        ("llama", LLAMA_3, "Llama 3"),
        ("llama", LLAMA_3[:2], "ChatML"),
        ("mamba", LLAMA_3, "ChatML"),
        (None, (), "ChatML"),
    ],
)
def test_a_family_is_taken_only_where_the_tokenizer_knows_its_tokens(
    model_type: str | None, tokens: list[str], name: str
) -> None:
    assert chat_family(model_type, tokens).name == name


@pytest.mark.slow
@pytest.mark.parametrize("model_type", WRITTEN)
def test_a_template_renders_and_marks_as_transformers_does(model_type: str, tiny_model: object) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = chat_family(model_type, TOKENS).template
    found = tokenizer.apply_chat_template(TURNS, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    learned = [token for token, marked in zip(found["input_ids"], found["assistant_masks"], strict=True) if marked]
    assert tokenizer.decode(found["input_ids"]) == WRITTEN[model_type]
    assert tokenizer.decode(learned).startswith("Hello") and len(tokenizer.decode(learned)) > len("Hello")
