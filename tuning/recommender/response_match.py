"""Find the text after which the answer of a row starts, and see whether the tokens part there too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.config.sections import Data

MOST_ROWS = 500
"""Rows whose tokens are compared at most. Source: our own choice: one percent of them is five rows."""
_PLACEHOLDER = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_USUAL = (
    *("### Response:", "### Answer:", "### Assistant:", "### Output:"),
    *("<|assistant|>", "<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>", "[/INST]"),
    *("\nAssistant:", "\nAnswer:", "\nResponse:", "\nA:"),
)
"""Texts that often stand before an answer, in plain texts of other tools."""


@dataclass(frozen=True)
class ResponseMatch:
    """How well a text parts the sampled rows into what is given and what is learned.

    `num_rows` were looked at, `num_holding` hold the text once with something after it, and of `num_compared` rows the
    tokens of `num_parting` part where the text ends. `boundary` is an example of a place where they do not.
    """

    template: str
    num_rows: int
    num_holding: int
    num_compared: int = 0
    num_parting: int = 0
    boundary: str = ""

    @property
    def share(self) -> float:
        """Return the share of the compared rows whose tokens part at the end of the text."""
        return self.num_parting / self.num_compared if self.num_compared else 0.0


def match_response(texts: Sequence[str], data: Data, tokenizer: Any) -> ResponseMatch | None:
    """Look for the response template of rows of text: the given one, else the likeliest; None where there is none.

    Where nobody gives one, it has to stand in every row, exactly once. `tokenizer` None: no tokens are compared.
    """
    if data.response_template:
        return _compared(data.response_template, texts, tokenizer)
    for template in _candidates(data):
        if texts and all(text.count(template) == 1 and _answer(text, template) for text in texts):
            found = [_compared(form, texts, tokenizer) for form in _forms(template)]
            return max(found, key=lambda match: match.share)
    return None


def _candidates(data: Data) -> Iterator[str]:
    """List what may stand before the answer: the text before the last column of a template, then the usual ones."""
    template = data.data_formatter_template or ""
    literals = _PLACEHOLDER.split(template)
    if len(literals) > 2 and "{%" not in template and literals[-2].strip():
        yield literals[-2].rstrip(" ")
    yield from _USUAL


def _forms(template: str) -> list[str]:
    """List the ways to end a text: many tokenizers join a blank or a line break with what follows."""
    return list(dict.fromkeys([template, template.rstrip()]))


def _compared(template: str, texts: Sequence[str], tokenizer: Any) -> ResponseMatch:
    holding = [text for text in texts if _answer(text, template)]
    pairs = [_parted(text, template) for text in holding[:MOST_ROWS]] if tokenizer is not None else []
    prompts = _tokens(tokenizer, [prompt for prompt, _ in pairs])
    wholes = _tokens(tokenizer, [prompt + answer for prompt, answer in pairs])
    parting = [whole[: len(prompt)] == prompt for prompt, whole in zip(prompts, wholes, strict=True)]
    together = [pair for pair, parts in zip(pairs, parting, strict=True) if not parts]
    boundary = f"{together[0][0][-12:]}|{together[0][1][:12]}" if together else ""
    return ResponseMatch(template, len(texts), len(holding), len(pairs), len(pairs) - len(together), boundary)


def _parted(text: str, template: str) -> tuple[str, str]:
    """Part a text as the data format does: at the last place where the template stands."""
    before, found, answer = text.rpartition(template)
    return before + found, answer


def _answer(text: str, template: str) -> str:
    return _parted(text, template)[1].strip() if template in text else ""


def _tokens(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [encoded.ids for encoded in tokenizer.encode_batch_fast(texts, add_special_tokens=False)] if texts else []


def texts_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the whole texts of converted rows of text, those that were parted by a given template put together."""
    return [row["text"] if "text" in row else row["prompt"] + row["completion"] for row in rows]
