"""`tune reproduce`: run a recorded run again from what its manifest says, and tell what came out differently."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.config.building import build_config
from tuning.config.ir import IR, merge_patch, without_redacted
from tuning.config.schema import TuningConfig
from tuning.errors import EXIT_SUCCESS, UserError
from tuning.manifest import read_manifest
from tuning.manifest_differences import different_places, different_results, refusals

EXIT_OTHER_WEIGHTS = 2
_EPILOG = """\
example: tune reproduce runs/first --output-dir runs/first-again

Exit codes: 0 the weights are the same (or --check found nothing in the way), 1 data or model changed and nothing was
run, 2 the run led to other weights, others as python -m tuning.sft_trainer gives them."""

_ITS_OWN: dict[str, Any] = {
    "training": {"save_model_dir": None, "resume_from_checkpoint": None, "push_to_hub": False},
    "tracking": {"trackers": None},
    "recommender": {"recommend": False},
}
"""What a reproduction does not take over: it overwrites nothing, publishes nothing, and has every value already."""

_SAME_VARIABLES = ("OMP_NUM_THREADS",)
"""Variables of the environment that change what comes out, and that say nothing of the machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Reproduce a run; returns the exit code."""
    args = _parser().parse_args(argv)
    manifest = read_manifest(args.manifest)
    output_dir = _output_dir(args.output_dir, manifest)
    _tell_attempts(manifest)
    with working_in(_working_directory(manifest)):
        _refuse_changes(manifest)
    for line in different_places(manifest):
        print(f"warning: {line}", file=sys.stderr)
    if args.check:
        print("data and model are what they were: the run can be reproduced")
        return EXIT_SUCCESS
    code = run_again(manifest, output_dir)
    return code if code != EXIT_SUCCESS else _tell_results(manifest, read_manifest(output_dir), output_dir)


def run_again(manifest: Mapping[str, Any], output_dir: Path) -> int:
    """Train in a process of its own, with the recorded configuration, into another folder; returns its exit code."""
    with tempfile.TemporaryDirectory(prefix="tune-reproduce-") as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(_config_of(manifest, output_dir)), encoding="utf-8")
        command = [sys.executable, *_launch(manifest), "-m", "tuning.sft_trainer", str(config)]
        return subprocess.run(command, cwd=_working_directory(manifest), env=_environ(manifest), check=False).returncode


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder for a while, so that relative paths mean what they meant to the run."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tune reproduce",
        description="Run a recorded run again and tell what came out differently.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="a run's manifest.json, or its folder")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="a new folder (default: beside the first one)")
    parser.add_argument("--check", action="store_true", help="only compare data, model and versions; run nothing")
    return parser


def _output_dir(given: Path | None, manifest: Mapping[str, Any]) -> Path:
    """Return the folder of the new run, which has to be free."""
    if given is None:
        first = Path(str(_settings(manifest, "training").get("output_dir"))).expanduser()
        given = first.with_name(f"{first.name}-reproduced-{time.strftime('%Y%m%d-%H%M%S')}")
        given = _working_directory(manifest) / given
    if given.exists() and (not given.is_dir() or any(given.iterdir())):
        raise UserError(f"--output-dir: '{given}' exists and is not empty. Give a new folder.")
    return given.absolute()


def _working_directory(manifest: Mapping[str, Any]) -> Path:
    recorded = Path(str(manifest.get("environment", {}).get("working_directory", ".")))
    return recorded if recorded.is_dir() else Path.cwd()


def _refuse_changes(manifest: Mapping[str, Any]) -> None:
    found = refusals(manifest, _recorded_config(manifest))
    if found:
        title = "The run cannot be reproduced, because what it was made from has changed:"
        raise UserError("\n".join([title, *found, "Put it back as it was, or start a new run from config.json."]))


def _recorded_config(manifest: Mapping[str, Any]) -> TuningConfig:
    values = merge_patch(manifest["config"]["values"], _ITS_OWN)
    return build_config(IR.of(without_redacted(values), "manifest"))


def _config_of(manifest: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    values = merge_patch(manifest["config"]["values"], _ITS_OWN)
    return {"values": merge_patch(values, {"training": {"output_dir": str(output_dir)}}), "sources": {}}


def _launch(manifest: Mapping[str, Any]) -> list[str]:
    """Return the words that start as many processes as the run had."""
    variables = manifest.get("environment", {}).get("variables", {})
    world_size = int(variables.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return []
    if int(variables.get("LOCAL_WORLD_SIZE", world_size)) != world_size:
        raise UserError(f"the run had {world_size} processes on several machines; tune reproduce starts one machine")
    return ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(world_size)]


def _environ(manifest: Mapping[str, Any]) -> dict[str, str]:
    recorded = manifest.get("environment", {}).get("variables", {})
    environ = {name: value for name, value in os.environ.items() if name not in _SAME_VARIABLES}
    return environ | {name: recorded[name] for name in _SAME_VARIABLES if name in recorded}


def _settings(manifest: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    return manifest["config"]["values"].get(section, {})


def _tell_attempts(manifest: Mapping[str, Any]) -> None:
    if manifest.get("state") != "finished":
        print(
            f"warning: the run did not finish (state: {manifest.get('state')}): there is no end to compare with",
            file=sys.stderr,
        )
    elif len(manifest.get("attempts", ())) > 1:
        print(f"the run took {len(manifest['attempts'])} attempts; it is run again in one")


def _tell_results(before: Mapping[str, Any], after: Mapping[str, Any], output_dir: Path) -> int:
    """Say whether the weights are the same, and which results are not; returns the exit code."""
    old, new = (one.get("weights", {}).get("sha256") for one in (before, after))
    print(f"\nreproduced in {output_dir}")
    if old is None or new is None:
        print("weights: the digest of one of the two is not recorded, so they cannot be compared")
    else:
        print(f"weights: identical (SHA-256 {new})" if old == new else f"weights: other ones (SHA-256 {old} -> {new})")
    for line in different_results(before, after):
        print(line)
    return EXIT_SUCCESS if old == new and new is not None else EXIT_OTHER_WEIGHTS


if __name__ == "__main__":
    sys.exit(main())
