"""The API's own pages, read from this package: nothing is fetched from anywhere else, by the server or by a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tuning.recommender.api_body import App, Message, Receive, Send

_FOLDER = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PATHS = {
    "/": "recommender.html",
    "/recommender.js": "recommender.js",
    "/docs": "docs.html",
    "/docs.js": "docs.js",
    "/page.css": "page.css",
    "/favicon.ico": "icon.svg",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)


class PageFile(NamedTuple):
    """One file of the pages."""

    content: bytes
    media_type: str


def load_pages() -> Mapping[str, PageFile]:
    """Read every file of the pages, by the path it is served at."""
    return {path: PageFile((_FOLDER / name).read_bytes(), _KINDS[Path(name).suffix]) for path, name in _PATHS.items()}


class OwnPagesOnly:
    """An ASGI application around another one that lets no browser load, send or show anything elsewhere."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers)
