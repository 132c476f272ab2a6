"""Refuse a body that nothing good can come of, before it is looked at: its size, time and form, and strange values."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Location = tuple[str | int, ...]

MOST_BYTES = 1 << 20
MOST_SECONDS = 10.0
"""Longest that a client may take to send its body."""
MOST_LEVELS = 32
MOST_KEYS = 1_000
"""Keys of all objects together. Source: a configuration has some 250 fields; each unknown one is compared with all."""
MOST_VALUES = 20_000
LONGEST_KEY = 200
_LARGEST_NUMBER = float(1 << 53)
"""Largest whole number that every reader of JSON reads alike."""


@dataclass(frozen=True)
class Refusal(Exception):
    """An answer to a request that goes no further."""

    status: int
    message: str
    location: Location = ("body",)

    def body(self) -> bytes:
        """Write the answer in the shape that FastAPI gives its own refusals."""
        problem = {"loc": list(self.location), "msg": self.message, "type": "request"}
        return json.dumps({"detail": [problem]}).encode()


class JsonBodies:
    """An ASGI application around another one, which gets a body only if it is strict JSON of a sane size."""

    def __init__(self, app: App, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS) -> None:
        self.app = app
        self.most_bytes = most_bytes
        self.most_seconds = most_seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._checked_body(dict(scope["headers"]), receive)
        except Refusal as refusal:
            await send_refusal(refusal, send)
            return
        await self.app(scope, _once(body, receive), send)

    async def _checked_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refusal(415, "expected content of the type application/json", ("header", "content-type"))
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.most_bytes:
            raise self._too_large()
        try:
            body = await asyncio.wait_for(self._body(receive), self.most_seconds)
        except TimeoutError as error:
            raise Refusal(408, f"the body did not arrive within {self.most_seconds:g} seconds") from error
        check_json(body)
        return body

    async def _body(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the client went away")
            body += message.get("body", b"")
            if len(body) > self.most_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self.most_bytes:,} bytes")


def check_json(body: bytes) -> None:
    """Read a body as JSON and look at every value in it.

    Raises:
        Refusal: it is no JSON, or holds something that no configuration holds; says where.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise Refusal(422, f"the key {name[:LONGEST_KEY]!a} stands twice in one object; keep one")
            found[name] = value
        return found

    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise Refusal(422, f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Refusal(422, f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise Refusal(422, f"nested more than {MOST_LEVELS} levels deep") from error
    except ValueError as error:  # a number of thousands of digits
        raise Refusal(422, "not JSON that can be read: a number has too many digits") from error
    _check_values(document)


def _check_values(document: Any) -> None:
    keys = 0
    for count, (location, value) in enumerate(_walk(document), start=1):
        keys += isinstance(location[-1], str)
        fault = _fault_of_key(location[-1]) or _fault_of_value(value)
        if len(location) > MOST_LEVELS:
            fault = f"nested more than {MOST_LEVELS} levels deep"
        elif keys > MOST_KEYS:
            fault = f"holds more than {MOST_KEYS:,} keys"
        elif count > MOST_VALUES:
            fault = f"holds more than {MOST_VALUES:,} values"
        if fault:
            raise Refusal(422, fault, tuple(_short(part) for part in location[:MOST_LEVELS]))


def _walk(document: Any) -> Iterator[tuple[Location, Any]]:
    """Yield the place and the value of everything in a document, without recursion."""
    waiting: list[tuple[Location, Any]] = [(("body",), document)]
    while waiting:
        location, value = waiting.pop()
        yield location, value
        if isinstance(value, dict):
            waiting += [((*location, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*location, index), inner) for index, inner in enumerate(value)]


def _fault_of_key(key: str | int) -> str | None:
    if isinstance(key, int):
        return None
    return f"a key has more than {LONGEST_KEY} characters" if len(key) > LONGEST_KEY else _fault_of_text(key)


def _fault_of_value(value: Any) -> str | None:
    if isinstance(value, str):
        return _fault_of_text(value)
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _LARGEST_NUMBER):
        return "expected a number between -2^53 and 2^53; JSON has no NaN or Infinity"
    return None


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return "holds a null character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "holds half of a surrogate pair, which no encoding can write"
    return None


def _short(part: str | int) -> str | int:
    return part.encode("ascii", "backslashreplace").decode()[:LONGEST_KEY] if isinstance(part, str) else part


def _once(body: bytes, receive: Receive) -> Receive:
    """Give the body again to the application inside, and after it whatever else the client says."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


async def send_refusal(refusal: Refusal, send: Send) -> None:
    """Send the answer to a request that goes no further."""
    body = refusal.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
