from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.trackers.redaction import REDACTED, redact, redact_text

# Put together at run time, so that no scanner takes them for real ones.
HF = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"
SECRETS = [
    HF,
    "sk-" + "proj-abcDEF0123456789abcd",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "A1b2C3d4E5" * 3,
    "glpat-" + "abcdefgh12345678",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
]

SECRET_NAMES = """
hub_token push_to_hub_token token HF_TOKEN auth_token accessToken api_key apiKey API-KEY openai_api_key wandb_api_key
password db_passwd passphrase client_secret AWS_SECRET_ACCESS_KEY credentials Authorization private_key security_token
session_token cookie api_tokens use_auth_token MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_PASSWORD
"""

INNOCENT_NAMES = """
pad_token eos_token bos_token unk_token pad_token_id eos_token_id max_new_tokens num_tokens add_special_tokens
mean_token_accuracy trainable_token_indices include_num_input_tokens_seen average_tokens_across_devices
tokenizer_name_or_path token_type_ids additional_special_tokens key keys label_key sort_keys public author authors
monkey max_tokens tokens_p95 split_special_tokens image_token stop_token tokenize passes secretary
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_text_under_a_secrets_name_is_taken_out(name: str) -> None:
    assert redact({name: "hunter2"}) == {name: REDACTED}


@pytest.mark.parametrize("name", INNOCENT_NAMES.split())
def test_values_under_innocent_names_survive(name: str) -> None:
    for value in ("hunter2", 5, [1, 2], {"a": "b"}, None, True):
        assert redact({name: value}) == {name: value}


@pytest.mark.parametrize("name", ["token", "hub_token", "new_token"])
@pytest.mark.parametrize("value", ["<|endoftext|>", "[PAD]", "", None, True, 7, "None", "</s>", "512"])
def test_a_marker_or_number_is_no_access_token(name: str, value: object) -> None:
    assert redact({name: value}) == {name: value}


def test_a_number_can_be_a_password() -> None:
    assert redact({"password": 1234, "use_password": None}) == {"password": REDACTED, "use_password": None}


def test_everything_below_a_secrets_name_is_taken_out() -> None:
    nested = {"credentials": {"user": "me", "parts": ["a", {"b": "c"}]}}
    assert redact(nested) == {"credentials": {"user": REDACTED, "parts": [REDACTED, {"b": REDACTED}]}}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("text", ["{}", "key is {} and more", "https://host/{}?x=1", "['{}']", '"{}"'])
def test_known_secrets_are_found_anywhere_in_a_text(secret: str, text: str) -> None:
    clean = redact_text(text.replace("{}", secret))
    assert secret not in clean and REDACTED in clean


@pytest.mark.parametrize(
    "argv", [["--hub_token", "x1"], ["--hub-token=x1"], ["hub_token=x1"], ["training.hub_token=x1"]]
)
def test_secrets_in_argument_lists_are_taken_out(argv: list[str]) -> None:
    assert "x1" not in str(redact(["run.py", *argv, "--output_dir", "out"]))
    assert redact(["run.py", *argv, "--output_dir", "out"])[-2:] == ["--output_dir", "out"]


@pytest.mark.parametrize(
    "text",
    [
        "train.py --hub_token s3cr3tvalue --lr 1",
        "Authorization: Bearer s3cr3tvalue0",
        "postgresql://user:s3cr3tvalue@host/db",
        "https://s3cr3tvalue@github.com/a/b",
        "https://bucket/x?X-Amz-Signature=s3cr3tvalue&v=2",
        "{'nested': {'hub_token': 's3cr3tvalue'}}",
        '{"nested": [{"hub_token": "s3cr3tvalue"}]}',
        "password = 's3cr3tvalue'",
        "see url: https://host/x?a=1&token=s3cr3tvalue",
        "export HF_TOKEN=s3cr3tvalue",
    ],
)
def test_secrets_inside_other_text_are_taken_out(text: str) -> None:
    assert "s3cr3tvalue" not in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "ssh://git@host/repo",
        "see https://arxiv.org/abs/2106.09685 (LoRA), section 4",
        "pad_token_id=2 max_new_tokens=5 eos_token='</s>'",
        "the task-based risk-averse hf_hub_download of hf_transformers",
        "the bearer of good news",
        "sqlite:////data/mlflow.db",
        "me@example.org",
        '{"eos_token": "<|im_end|>", "pad_token_id": 3}',
        "{% for message in messages %}{{ message['content'] + eos_token }}{% endfor %}",
    ],
)
def test_text_without_secrets_is_left_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_json_in_a_text_stays_json() -> None:
    assert json.loads(redact_text('{"a": {"token": "abc"}, "b": 1}')) == {"a": {"token": REDACTED}, "b": 1}


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_redacting_twice_changes_nothing(value: object) -> None:
    once = redact(value)
    assert redact(once) == once


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_known_secret_survives_whatever_stands_around_it(before: str, after: str) -> None:
    text = f"{before} {HF} {after}"
    assert HF not in str(redact({"x": [text]}))
