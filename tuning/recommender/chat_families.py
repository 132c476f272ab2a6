"""Chat templates of model families, for base models whose tokenizer knows the family's tokens and has no template."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from tuning.data.templates import CHATML


class ChatFamily(NamedTuple):
    """How a family writes a conversation.

    A tokenizer has to know all of `tokens`, each as one id. `end_token` ends a turn; None: the tokenizer's own.
    """

    name: str
    template: str
    tokens: tuple[str, ...] = ()
    end_token: str | None = None


def _template(begin: str, before: str, after: str, end: str, between: str, roles: Mapping[str, str]) -> str:
    """Write a template whose turns are `before`, the role, `after`, the content, `end`, with `between` following.

    Line breaks stand in text expressions, because those after a tag are trimmed. `roles` renames some roles.
    """
    role = "message['role']"
    for name, written in roles.items():
        role = f"('{written}' if message['role'] == '{name}' else {role})"
    content = f"{{{{ message['content'] + '{end}' }}}}"
    return (
        f"{begin}{{% for message in messages %}}{{{{ '{before}' + {role} + '{after}' }}}}"
        "{% if message['role'] == 'assistant' %}"
        f"{{% generation %}}{content}{{% endgeneration %}}{{% else %}}{content}{{% endif %}}"
        f"{{{{ '{between}' }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{before}{roles.get('assistant', 'assistant')}{after}' }}}}{{% endif %}}"
    )


_BOS = "{{ bos_token }}"
_CHATML = ChatFamily("ChatML", CHATML.replace("\\n", "\n"))
_QWEN = ChatFamily(
    "Qwen",
    _template("", "<|im_start|>", "\n", "<|im_end|>", "\n", {}),
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
)
_LLAMA_3 = ChatFamily(
    "Llama 3",
    _template(_BOS, "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>", "", {}),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|eot_id|>",
)
_GRANITE = ChatFamily(
    "Granite",
    _template("", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "\n", {}),
    ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    "<|end_of_text|>",
)
_GEMMA = ChatFamily(
    "Gemma",
    _template(_BOS, "<start_of_turn>", "\n", "<end_of_turn>", "\n", {"system": "user", "assistant": "model"}),
    ("<start_of_turn>", "<end_of_turn>"),
    "<end_of_turn>",
)
_PHI_3 = ChatFamily(
    "Phi 3",
    _template("", "<|", "|>\n", "<|end|>", "\n", {}),
    ("<|user|>", "<|assistant|>", "<|end|>"),
    "<|end|>",
)
_FAMILIES: Mapping[str, ChatFamily] = {
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_5", "qwen3_5_moe"), _QWEN),
    "llama": _LLAMA_3,
    **dict.fromkeys(("granite", "granitemoe", "granitemoeshared", "granitemoehybrid"), _GRANITE),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), _GEMMA),
    "phi3": _PHI_3,
}
"""By `model_type`. Source: the chat templates that these families' instruction-tuned models come with."""


def chat_family(model_type: str | None, tokens: Collection[str]) -> ChatFamily:
    """Return the family's way where the tokenizer knows its tokens, else ChatML, which needs none."""
    family = _FAMILIES.get(model_type or "", _CHATML)
    return family if set(family.tokens) <= set(tokens) else _CHATML
