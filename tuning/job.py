"""A run that is decided and not started: its configuration read, completed and checked, without torch or numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuning import console
from tuning.acceleration.configuration import unusable_plugins, unusable_stanzas
from tuning.checkpoints.search import find_checkpoint
from tuning.config.accelerate_file import with_accelerate_file
from tuning.config.building import build_config, complete, with_checked_values
from tuning.config.decided import seed_of
from tuning.config.files import missing_files, unusable_folders
from tuning.config.ir import DEFAULT, IR
from tuning.config.loading import load_ir, load_mapping
from tuning.config.plugin_file import with_plugins
from tuning.config.rules import held_out_rows
from tuning.config.schema import TuningConfig
from tuning.data.data_config import with_datasets
from tuning.data.rows import load_rows
from tuning.data.run_datasets import unusable_datasets
from tuning.data.sources import missing_sources
from tuning.data.streaming import stream_rows
from tuning.errors import Problem
from tuning.evaluation.requirements import rows_to_ask, unusable_evaluation
from tuning.model import missing_kernels, missing_on_the_hub, unusable_model
from tuning.quantization import unusable_quantization
from tuning.recommender.action import Recommendation
from tuning.recommender.engine import recommend
from tuning.registry import did_you_mean
from tuning.trackers.tracker_factory import check_trackers


@dataclass(frozen=True)
class Job:
    """A run that is decided and not started: its configuration, the same as a document, and what was recommended."""

    config: TuningConfig
    document: IR
    recommendations: tuple[Recommendation, ...]
    goes_on: bool = False
    """The run has begun before in its folder, and was started again: it is the same one, with a checkpoint or none."""


def load_config(
    source: Sequence[str] | Mapping[str, Any] = (),
    overlay: IR | None = None,
    recipe: str = "",
    needs_folder: bool = True,
) -> Job:
    """Read, complete and check the configuration that a command line or a mapping gives.

    A command line wins over `overlay`, the values of a recipe; `recipe` names it. `needs_folder` False: nothing will be
    written to a run folder, so none has to be named.

    Raises:
        ConfigError: with every problem in it.
    """
    loaded = load_mapping(source) if isinstance(source, Mapping) else load_ir(source, None, overlay, recipe)
    console.tell_notices([*loaded.notices, *_passed_over(loaded.ir)])
    checks = (missing_files, missing_sources, unusable_datasets, unusable_model, unusable_evaluation, unusable_trackers)
    checks = (
        *checks,
        unusable_folders,
        missing_kernels,
        unusable_stanzas,
        _unknown_settings,
        _unknown_wrapper,
        _unusable_rules,
    )
    nowhere = {} if needs_folder or loaded.ir.get("training.output_dir") else {"training": {"output_dir": "."}}
    ir = with_plugins(with_datasets(loaded.ir.merge(nowhere, DEFAULT), loaded.problems), loaded.problems)
    ir = with_accelerate_file(ir, loaded.problems)
    ir = _with_controllers(ir, loaded.problems)
    given = build_config(ir, checks, loaded.problems, last=(missing_on_the_hub,))
    ir = with_checked_values(ir, given)
    recommendations: list[Recommendation] = []
    if given.recommender.recommend:
        ir, recommendations = recommend(ir)
    completed = (held_out_rows, rows_to_ask, unusable_quantization, unusable_plugins, _rules_without_evaluation)
    config = build_config(ir, (*completed, _unusable_export))  # which method trains is known by now
    return Job(config, complete(ir, config), tuple(recommendations))


def check(config: TuningConfig) -> None:
    """Look at what a run would look at before it imports torch, and change nothing.

    Raises:
        UserError: the run would refuse the checkpoint or the rows.
    """
    find_checkpoint(config)
    read = stream_rows if config.data.streaming else load_rows
    read(config.data, seed_of(config))


def unusable_trackers(config: TuningConfig) -> list[Problem]:
    """Name what is wrong with the trackers, from their names, packages and options alone."""
    return check_trackers(dict(config.tracking))


def _passed_over(ir: IR) -> Iterator[str]:
    if ir.get("training.hub_token") is not None:
        told = f"training.hub_token (from {ir.sources['training.hub_token']}) is passed over"
        yield f"{told}: set HF_TOKEN where the run starts, or log in with `hf auth login`"


# Most runs have no rules and no exports; what checks them is imported where a run has some.


def _with_controllers(ir: IR, problems: Sequence[Problem]) -> IR:
    if ir.get("trainer_control.trainer_controller_config_file") is None:
        return ir
    from tuning.control.trainer_controller import with_controllers

    return with_controllers(ir, problems)


def _unknown_settings(config: TuningConfig) -> Iterator[Problem]:
    if config.accelerate:
        from tuning.recommender.adapters.accelerate_file import KEYS, OLD_KEYS

        for key, value in config.accelerate.items():
            if key not in KEYS | OLD_KEYS:
                hint = did_you_mean(str(key), sorted(KEYS))
                yield Problem(f"accelerate.{key}", "accelerate has no such setting", value, hint=hint)


def _unknown_wrapper(config: TuningConfig) -> Iterator[Problem]:
    if (given := config.accelerate.get("distributed_type")) is not None:
        from tuning.recommender.adapters.accelerate_file import DISTRIBUTED_TYPES

        if given not in DISTRIBUTED_TYPES:
            hint = did_you_mean(str(given), sorted(DISTRIBUTED_TYPES))
            yield Problem("accelerate.distributed_type", "accelerate has no such type", given, hint=hint)


def _unusable_rules(config: TuningConfig) -> Iterator[Problem]:
    if not config.trainer_control.is_default():
        from tuning.control.checks import unusable_rules

        yield from unusable_rules(config)


def _rules_without_evaluation(config: TuningConfig) -> Iterator[Problem]:
    if not config.trainer_control.is_default():
        from tuning.control.checks import rules_without_evaluation

        yield from rules_without_evaluation(config)


def _unusable_export(config: TuningConfig) -> Iterator[Problem]:
    if not config.export.is_default():
        from tuning.export.of_run import unusable_export

        yield from unusable_export(config)
