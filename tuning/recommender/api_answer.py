"""Answer a request for recommendations: documents in, the completed one out, with reasons, memory and a command."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tuning.config.ir import IR
from tuning.errors import ConfigError, UserError
from tuning.recommender.action import Action
from tuning.recommender.adapters.launch import launch_command, shell_line
from tuning.recommender.adapters.native import declared
from tuning.recommender.allowed_roots import AllowedRoots
from tuning.recommender.api_cache import Cache
from tuning.recommender.api_documents import Given, RefusedDocument, read_documents
from tuning.recommender.api_models import RecommendRequest
from tuning.recommender.api_paths import Reading, check_weights, followed
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts
from tuning.recommender.memory import memory_parts
from tuning.recommender.memory_plan import budget_bytes, decided_step
from tuning.recommender.probe_process import probe_apart

MOST_KEPT = 64
"""Models with their rows, and answers, that are kept: some megabytes."""
MOST_PROBES = 2
"""Processes that look at models and rows at the same time."""
MOST_THREADS = 16
"""Threads that answer requests."""


@dataclass(frozen=True)
class Desk:
    """What every request is answered with: folders, rules, and what was found out for earlier requests.

    `seconds` is the longest that looking at a model and its rows may take.
    """

    roots: AllowedRoots
    actions: Sequence[Action]
    seconds: float
    facts: Cache[Facts] = field(default_factory=lambda: Cache(MOST_KEPT, MOST_PROBES))
    answers: Cache[bytes] = field(default_factory=lambda: Cache(MOST_KEPT, MOST_THREADS))

    def answer(self, request: RecommendRequest) -> bytes:
        """Complete a request's document, as JSON; the same request and the same files give the same bytes.

        Raises:
            RefusedDocument: it is wrong; holds every problem that the step which found it finds, each with its place.
        """
        given = read_documents(request)
        try:
            reading = followed(given.ir, self.roots)
            key = reading.key()
            return self.answers.get(
                (request.model_dump_json(), key), lambda: self._answer(request, given, reading, key)
            )
        except ConfigError as error:
            raise given.refused(error.problems) from error
        except ArithmeticError as error:
            raise RefusedDocument([(("body",), "holds numbers too large or too small to reckon with")]) from error
        except UserError as error:
            raise RefusedDocument([(("body",), str(error))]) from error

    def _answer(self, request: RecommendRequest, given: Given, reading: Reading, key: Hashable) -> bytes:
        facts = self.facts.get(key, lambda: self._probe(reading))
        ir, recommendations = recommend(given.ir, facts, self.actions)
        values, lost = declared(ir)
        return dumped(
            {
                "config": values,
                "recommendations": [made.to_dict() for made in recommendations],
                "json_patch": given.ir.json_patch(ir),
                "launch_command": shell_line(launch_command(ir, request.config_file)),
                "memory": memory(ir, facts),
                "unmapped": [*given.unmapped, *map(str, lost)],
                "notices": [*given.notices, *reading.notices],
            }
        )

    def _probe(self, reading: Reading) -> Facts:
        check_weights(reading, self.roots)
        return probe_apart(reading.ir, self.seconds, self.roots.folders)


def dumped(document: Any) -> bytes:
    """Write JSON in ASCII: a file may hold text, as in the name of a column, that no encoding can write.

    Raises:
        OverflowError: a rule came to a number that JSON does not have.
    """
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii")
    except ValueError as error:
        raise OverflowError("a number is not finite") from error


def memory(ir: IR, facts: Facts) -> dict[str, Any]:
    """Say what a completed document's step holds, bytes, and whether the device has that much; None: not known."""
    parts = memory_parts(facts.model, decided_step(ir, facts)) if facts.model is not None else None
    budget = budget_bytes(facts.hardware)
    total = None if parts is None else parts.total
    return {
        "parts": None if parts is None else asdict(parts),
        "total": total,
        "budget": budget,
        "fits": None if total is None or budget is None else total <= budget,
    }
