from __future__ import annotations

import pytest

from tuning.data.mojibake import wrongly_decoded

SOUND = (
    "«CAFÉ»", "café”… oui", "SÃO PAULO", "MANHÃ”", "naïve “quote”", "ĐÃ”", "10 °C", "Straße", "Ⅷ 中文 😀", "",
)  # fmt: skip
TEXTS = ("Café", "über", "“so” it is", "привет", "中文字", "Ελλάδα", "10\xa0°C", "😀 yes", "\ufeffname")


@pytest.mark.parametrize("text", SOUND)
def test_sound_text_reads_well(text: str) -> None:
    assert wrongly_decoded({"prompt": text, "completion": text}) is None


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("text", TEXTS)
def test_utf_8_that_was_read_as_another_encoding_is_seen(text: str, encoding: str) -> None:
    wrong = text.encode("utf-8").decode(encoding, errors="ignore")
    sign = wrongly_decoded({"messages": [{"role": "user", "content": f"Well, {wrong}."}]})
    assert sign is not None and sign in wrong


@pytest.mark.parametrize("text", ["it\u2019s", "\u201cso\u201d", "a \u2013 b", "and so on\u2026"])
def test_marks_that_were_read_as_mac_roman_are_seen(text: str) -> None:
    assert wrongly_decoded({"text": text.encode("utf-8").decode("mac_roman")}) is not None


def test_a_character_that_stands_for_unreadable_bytes_is_seen() -> None:
    assert wrongly_decoded({"text": "caf\ufffd"}) == "\ufffd"


def test_token_ids_are_no_text() -> None:
    assert wrongly_decoded({"input_ids": [1, 2, 3], "labels": [1, 2, 3]}) is None
