"""The recommender over HTTP: `uvicorn tuning.recommender.api:app`. It reads within allowed folders and writes nothing.

The folders come from the environment variable TUNING_RECOMMENDER_ROOTS, separated as in PATH; without it, the current
folder. TUNING_RECOMMENDER_HOSTS lists names, separated by commas, that the server is asked by besides localhost.
`create_app` makes the same application from a program.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning import __version__
from tuning.config.schema import TuningConfig
from tuning.errors import MissingExtraError, UserError
from tuning.recommender.action import Action
from tuning.recommender.actions import load_actions
from tuning.recommender.allowed_roots import AllowedRoots
from tuning.recommender.api_answer import MOST_THREADS, Desk, dumped
from tuning.recommender.api_body import JsonBodies, Location
from tuning.recommender.api_documents import RefusedDocument
from tuning.recommender.api_hosts import HOSTS_VARIABLE, KnownHosts
from tuning.recommender.api_listing import listing
from tuning.recommender.api_models import Health, Listing, RecommendAnswer, RecommendRequest, Refused, Rule
from tuning.recommender.api_pages import OwnPagesOnly, PageFile, load_pages

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

ROOTS_VARIABLE = "TUNING_RECOMMENDER_ROOTS"
PROBE_SECONDS = 30.0
"""Longest that looking at a model and its rows may take."""
ANSWER_SECONDS = 60.0
"""Longest that a request waits, its turn included."""


def create_app(
    roots: Iterable[str | Path],
    actions: Sequence[Action] | None = None,
    probe_seconds: float = PROBE_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
    hosts: Iterable[str] = (),
) -> FastAPI:
    """Make the application; two of them share nothing.

    `roots` are the folders that requests may name files in. `actions` are the rules; None: every registered one.
    `hosts` are names, as in the header Host and without a port, that are answered to besides localhost.

    Raises:
        MissingExtraError: FastAPI is not installed.
        UserError: a root is no folder.
    """
    try:
        from fastapi import FastAPI
        from fastapi.exceptions import RequestValidationError
    except ImportError as error:
        raise MissingExtraError("the HTTP API", "fastapi", "api") from error
    rules = load_actions() if actions is None else list(actions)
    desk = Desk(AllowedRoots(roots), rules, probe_seconds)
    app = FastAPI(title="tuning recommender", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(JsonBodies)
    app.add_middleware(KnownHosts, hosts=tuple(hosts))
    app.add_middleware(OwnPagesOnly)
    _add_routes(app, Service(desk, answer_seconds))
    return app


class Service:
    """The routes. Whatever may take time runs in threads of its own, so that the event loop stays free."""

    def __init__(self, desk: Desk, seconds: float) -> None:
        self.desk = desk
        self.seconds = seconds
        self.threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="recommender")
        self.schema_json = dumped(TuningConfig.json_schema())

    async def recommend(self, request: RecommendRequest) -> Response:
        """Complete a configuration, and say why."""
        return await self._in_thread(lambda: self.desk.answer(request))

    async def files(self, path: str = "") -> Response:
        """List the folders, models and data files at a path; without one, the folders that may be read."""
        return await self._in_thread(partial(self._listing, path))

    async def rules(self) -> Response:
        """List the rules in the order in which they run."""
        return _json([_rule(order, action) for order, action in enumerate(self.desk.actions, start=1)])

    async def schema(self) -> Response:
        """Describe a configuration as JSON schema."""
        return _response(self.schema_json)

    async def health(self) -> Response:
        """Say that the server is there, and which folders it reads."""
        return _json({"status": "ok", "version": __version__, "roots": self.desk.roots.names()})

    def _listing(self, path: str) -> bytes:
        try:
            return dumped(listing(self.desk.roots, path))
        except UserError as error:
            raise RefusedDocument([(("query", "path"), str(error))]) from error

    async def _in_thread(self, work: Callable[[], bytes]) -> Response:
        loop = asyncio.get_running_loop()
        try:
            content = await asyncio.wait_for(loop.run_in_executor(self.threads, work), self.seconds)
        except RefusedDocument as error:
            return _refused(error.problems)
        except TimeoutError:
            return _refused([(("body",), f"no answer within {self.seconds:g} seconds; try again later")], 503)
        return _response(content)


_REFUSALS = {
    400: "The request is for another host",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "What is wrong with the request, each problem with its place",
    503: "There was no answer in time",
}


def _add_routes(app: FastAPI, service: Service) -> None:
    refusals: dict[int | str, Any] = {
        status: {"model": Refused, "description": text} for status, text in _REFUSALS.items()
    }
    reading: dict[int | str, Any] = {status: refusals[status] for status in (400, 422, 503)}
    other: dict[int | str, Any] = {400: refusals[400]}
    for method, path, route, model, others in (
        ("POST", "/recommend", service.recommend, RecommendAnswer, refusals),
        ("GET", "/files", service.files, Listing, reading),
        ("GET", "/rules", service.rules, list[Rule], other),
        ("GET", "/schema", service.schema, dict[str, Any], other),
        ("GET", "/health", service.health, Health, other),
    ):
        app.add_api_route(path, route, methods=[method], response_model=model, responses=others)
    for path, file in load_pages().items():
        app.add_api_route(path, _page(file), include_in_schema=False)


def _page(file: PageFile) -> Callable[[], Any]:
    async def page() -> Any:
        from fastapi import Response

        return Response(file.content, media_type=file.media_type)

    return page


def _rule(order: int, action: Action) -> dict[str, Any]:
    lines = (inspect.getdoc(type(action)) or "").splitlines()
    return {"order": order, "name": action.name, "description": lines[0] if lines else ""}


async def _invalid(_request: Any, error: Any) -> Response:
    return _refused([(tuple(fault["loc"]), fault["msg"]) for fault in error.errors()])


def _refused(problems: Iterable[tuple[Location, str]], status: int = 422) -> Response:
    detail = [{"loc": list(location), "msg": message, "type": "value_error"} for location, message in problems]
    return _response(dumped({"detail": detail}), status)


def _json(document: Any) -> Response:
    return _response(dumped(document))


def _response(content: bytes, status: int = 200) -> Response:
    from fastapi import Response

    return Response(content, status, media_type="application/json")


def __getattr__(name: str) -> Any:
    """Make `app` when a server first asks for it, so that importing this module needs neither folder nor FastAPI."""
    if name != "app":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    roots = os.environ.get(ROOTS_VARIABLE, "")
    hosts = os.environ.get(HOSTS_VARIABLE, "").split(",")
    folders = [root for root in roots.split(os.pathsep) if root] or [Path.cwd()]
    return create_app(folders, hosts=[host for host in hosts if host.strip()])
