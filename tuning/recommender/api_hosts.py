"""Answer only who asks for this server by a name that it knows.

Anybody's page may give its own host name the address 127.0.0.1, and a browser then takes this server for that page's.
The name still stands in the header Host.
"""

from __future__ import annotations

from collections.abc import Iterable

from tuning.recommender.api_body import App, Message, Receive, Refusal, Send, send_refusal

HOSTS_VARIABLE = "TUNING_RECOMMENDER_HOSTS"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class KnownHosts:
    """An ASGI application around another one, which gets only requests for this machine or for one of `hosts`."""

    def __init__(self, app: App, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.hosts = frozenset(host.strip().lower() for host in (*LOCAL_HOSTS, *hosts))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        asked = {_name(value) for key, value in scope.get("headers", ()) if key == b"host"}
        if scope["type"] == "lifespan" or (asked and asked <= self.hosts):
            await self.app(scope, receive, send)
            return
        told = f"this server is not known by that name; {HOSTS_VARIABLE} lists names besides localhost"
        await send_refusal(Refusal(400, told, ("header", "host")), send)


def _name(host: bytes) -> str:
    """Return a header's host without its port."""
    name, colon, port = host.decode("latin-1").strip().lower().rpartition(":")
    return name if colon and port.isdigit() else f"{name}{colon}{port}"
