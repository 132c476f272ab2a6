"""A document and what completes it, for the commands that only look: nothing is trained and no run folder is needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuning.config.accelerate_file import with_accelerate_file
from tuning.config.building import build_config, with_checked_values
from tuning.config.ir import DEFAULT, IR
from tuning.config.loading import load_ir
from tuning.config.plugin_file import with_plugins
from tuning.data.data_config import with_datasets
from tuning.data.run_datasets import unusable_datasets
from tuning.data.sources import missing_sources
from tuning.errors import Problem
from tuning.recommender.action import Action, Recommendation
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts, probe


@dataclass(frozen=True)
class Completed:
    """What was given, what it became, why, and what that rests on."""

    given: IR
    ir: IR
    recommendations: tuple[Recommendation, ...]
    facts: Facts
    actions: tuple[Action, ...]


def given_document(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> IR:
    """Read and check what a command line describes; notices go to standard error.

    Raises:
        ConfigError: the configuration is wrong.
    """
    loaded = load_ir(argv, environ)
    for notice in loaded.notices:
        print(notice, file=sys.stderr)
    return checked(with_accelerate_file(loaded.ir, loaded.problems), loaded.problems)


def checked(ir: IR, problems: Sequence[Problem] = ()) -> IR:
    """Check a document, and read its values as the types of their fields; a run folder may be missing.

    Raises:
        ConfigError: the configuration is wrong.
    """
    somewhere = {} if ir.get("training.output_dir") else {"training": {"output_dir": "."}}
    ir = with_plugins(with_datasets(ir, problems), problems)
    config = build_config(ir.merge(somewhere, DEFAULT), (missing_sources, unusable_datasets), problems)
    return with_checked_values(ir, config)


def completed(ir: IR, facts: Facts | None = None) -> Completed:
    """Complete a checked document, by the built-in rules and by those of `recommender.rules_dir`.

    Raises:
        UserError: the data or a file of rules cannot be read.
    """
    facts = probe(ir) if facts is None else facts
    actions = _actions(ir)
    final, recommendations = recommend(ir, facts, actions)
    return Completed(ir, final, tuple(recommendations), facts, tuple(actions))


def _actions(ir: IR) -> list[Action]:
    from tuning.recommender.actions import load_actions
    from tuning.recommender.custom_rules import rules_of

    return [] if ir.get("recommender.recommend") is False else [*load_actions(), *rules_of(ir)]
