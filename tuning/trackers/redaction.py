"""Take secrets out of values before they are written anywhere.

A value is taken out when the name it stands under is a secret's name, or when it looks like a known kind of secret.
`token` names a secret only where it is the last word of the name (`hub_token`), because this field also calls pieces
of text tokens: `pad_token_id`, `max_new_tokens` and `token_accuracy` are no secrets, and neither are `eos_token` and
its like, nor any number or marker such as `<pad>` under such a name.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import REDACTED

_SECRET_WORD = re.compile(
    "secrets?|secretkey|passphrase|pwd|credentials?|authorization|apikeys?|accesskey|privatekey|accesstoken|authtoken"
    "|hubtoken|cookies?|.*password|.*passwords|.*passwd"
)
_KEY_OWNER = re.compile("api|access|private|account|signing|encryption|ssh|auth")
_TOKEN_OWNER = re.compile(
    "hub|hf|huggingface|api|access|auth|bearer|refresh|session|personal|github|gitlab|wandb|aws|oauth|login"
)
_TEXT_TOKEN = re.compile(
    "bos|eos|pad|unk|sep|cls|mask|image|video|audio|boi|eoi|boa|eoa|bot|eot|eom|fim|stop|start|end|special|additional"
    "|extra|prefix|suffix|middle|tool|system|user|assistant|thinking|decoder|response|instruction|modality"
)
_MARKER = re.compile(r"^\s*(?:<.{1,60}>|\[.{1,60}\]|\{.{1,60}\}|[^\w\s]{0,8})\s*$")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_KNOWN_SECRETS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
      hf_(?=[A-Za-z0-9]*[A-Z0-9])[A-Za-z0-9]{16,}
    | sk-[A-Za-z0-9_-]{16,}
    | (?:AKIA|ASIA)[0-9A-Z]{16}
    | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{20,} | glpat-[\w-]{16,}
    | xox[abeprs]-[\w-]{10,} | AIza[\w-]{30,} | wandb_v\d_\w{20,}
    | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{5,}
    )""",
    re.VERBOSE,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_BEARER = re.compile(r"\b(bearer|basic)\s+(?=\S*[\d=])[\w.~+/=-]{8,}", re.IGNORECASE)
_URL_USER = re.compile(r"(?<![a-zA-Z0-9+.-])(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<user>[^\s/?#\"']*)@")
_ASSIGNED = re.compile(r"""(?<![\w.-])-{0,2}(?P<key>[A-Za-z_][\w.-]*)["']?\s*[:=]\s*["']?""")
_OPTION = re.compile(r"""(?<!\S)--?(?P<key>[A-Za-z][\w.-]*)\s+(?!-)["']?""")
_VALUE = re.compile(r"""[^\s"',;&}\])]+""")
_SIGNED_URL = frozenset({"sig", "signature", "x-amz-signature", "x-goog-signature"})


def redact(value: Any) -> Any:
    """Return a copy of nested plain values without their secrets."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {_redacted_key(key): _redact_under(key, item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return _redact_list(value)
    return value


def redact_text(text: str) -> str:
    """Take secrets out of a string: known kinds, credentials in URLs, assignments, options, and JSON within it."""
    nested = _redact_json(text)
    if nested is not None:
        return nested
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _KNOWN_SECRETS.sub(REDACTED, text)
    text = _BEARER.sub(lambda found: f"{found[1]} {REDACTED}", text)
    text = _URL_USER.sub(_without_user, text)
    return _without_values(_OPTION, _without_values(_ASSIGNED, text))


def is_secret_name(name: str) -> bool:
    """Tell whether any value under this name is a secret, whatever its type."""
    words = _words(name)
    return any(_SECRET_WORD.fullmatch(word) for word in words) or _owned(words, _KEY_OWNER, ("key", "keys"))


def is_token_name(name: str) -> bool:
    """Tell whether text under this name is an access token."""
    words = _words(name)
    if words[-1:] == ["auth"] or _owned(words, _TOKEN_OWNER, ("token", "tokens")):
        return True
    return words[-1:] == ["token"] and not (len(words) > 1 and _TEXT_TOKEN.fullmatch(words[-2]))


def _owned(words: list[str], owner: re.Pattern[str], things: tuple[str, str]) -> bool:
    return any(owner.fullmatch(first) and second in things for first, second in itertools.pairwise(words))


def _redact_under(name: Any, value: Any) -> Any:
    name = str(name)
    if is_secret_name(name):
        return _mask(value, numbers=True)
    return _mask(value, numbers=False) if is_token_name(name) else redact(value)


def _mask(value: Any, *, numbers: bool) -> Any:
    """Take out every leaf below a secret's name; an empty or undecided value tells nothing and stays."""
    if isinstance(value, Mapping):
        return {_redacted_key(key): _mask(item, numbers=numbers) for key, item in value.items()}
    if isinstance(value, str):
        return value if _tells_nothing(value, numbers=numbers) else REDACTED
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_mask(item, numbers=numbers) for item in value]
    if value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and not numbers):
        return value
    return REDACTED


def _tells_nothing(text: str, *, numbers: bool) -> bool:
    text = text.strip().lower()
    if text in ("", "none", "null", "true", "false") or text.startswith(REDACTED[:-1]):
        return True
    return not numbers and (_is_number(text) or _MARKER.match(text) is not None)


def _redact_list(items: Sequence[Any]) -> list[Any]:
    """Redact items, and the item after an option that asks for a secret, as in an argument list."""
    redacted: list[Any] = []
    previous: Any = None
    for item in items:
        is_value = _is_option(previous) and isinstance(item, str) and not item.startswith("--")
        redacted.append(_redact_under(previous.lstrip("-"), item) if is_value else redact(item))
        previous = item
    return redacted


def _is_option(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("-") and "=" not in item and " " not in item


def _redact_json(text: str) -> str | None:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    clean = redact(loaded)
    return text if clean == loaded else json.dumps(clean)


def _redacted_key(key: Any) -> Any:
    return _KNOWN_SECRETS.sub(REDACTED, key) if isinstance(key, str) else key


def _without_user(found: re.Match[str]) -> str:
    # `ssh://git@host` names an account; a web address with anything before the @ holds a secret.
    if ":" not in found["user"] and not found["scheme"].lower().startswith("http"):
        return found[0]
    return f"{found['scheme']}://{REDACTED}@"


def _without_values(names: re.Pattern[str], text: str) -> str:
    """Take out what follows a secret's name; what follows another name may hold more names, as a URL does."""
    kept: list[str] = []
    position = 0
    while (found := names.search(text, position)) is not None:
        kept.append(text[position : found.end()])
        position = found.end()
        value = _VALUE.match(text, position) if _may_be_secret(found["key"]) else None
        if value is not None and not _tells_nothing(
            value[0], numbers=is_secret_name(found["key"]) or not is_token_name(found["key"])
        ):
            kept.append(REDACTED)
            position = value.end()
    return "".join([*kept, text[position:]])


def _may_be_secret(key: str) -> bool:
    return is_secret_name(key) or is_token_name(key) or key.lower() in _SIGNED_URL


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.]+(?:e[-+]?\d+)?", text, re.IGNORECASE) is not None


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]
