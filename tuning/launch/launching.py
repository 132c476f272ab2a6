"""`tune RECIPE --nproc N`: decide a run once, and start it in processes of its own."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuning.errors import UserError
from tuning.launch.decided import Decided, write_decided
from tuning.launch.flags import Launch
from tuning.launch.settings import launcher_words
from tuning.launch.supervisor import supervise
from tuning.recipes import Recipe


def launch(name: str, recipe: Recipe, words: Sequence[str], given: Mapping[str, str]) -> int:
    """Decide the run of a recipe once, and start the processes that `given`, flags of the command, ask for.

    Returns the exit code that the run itself ends with. What the processes read is in a folder that is theirs alone and
    goes away with them: it may hold secrets, and nothing is written to the run folder before the rows were looked at.

    Raises:
        UserError: a flag or the configuration is wrong, or the recipe cannot run in processes of its own.
    """
    asked = Launch.of(given)
    if recipe.params is not None:
        raise UserError(f"{next(iter(given))}: recipe {recipe.name} has params of its own and runs in one process")
    asked.check_environment()
    from tuning import console
    from tuning.job import load_config

    console.set_up_logging()
    job = load_config([*words, *asked.settings()], recipe.document(), recipe.name)
    asked.check_machines(job.document)
    decided = Decided(name, list(sys.argv), job)
    with tempfile.TemporaryDirectory(prefix="tune-launch-") as folder:
        start = launcher_words(job.document, Path(folder))
        command = command_of(decided, start, Path(folder))
        return supervise(command, Path(folder), asked.num_ranks_here(job.document), asked.max_restarts)


def command_of(decided: Decided, start: Sequence[str], folder: Path) -> Callable[[int, Path], list[str]]:
    """Return what makes the words of an attempt; a later one goes on from what earlier ones saved."""
    file = folder / "run.json"
    before, begun_before = newest_checkpoint(decided), begun(decided)

    def command(attempt: int, left_in: Path) -> list[str]:
        run = started_again(decided, before) if attempt else decided
        write_decided(run if begun(decided) == begun_before else run.as_begun(), file)
        return [*start, "-m", "tuning.launch.rank", str(file), str(left_in)]

    return command


def started_again(decided: Decided, before: tuple[str, int] | None) -> Decided:
    """Return the run as it is started again, also where it was told to begin anew, or from a checkpoint by name.

    `before` is the newest checkpoint that was there before the first attempt: it is not of this run.
    """
    asked, newest = decided.job.config.training.resume_from_checkpoint, newest_checkpoint(decided)
    if asked in (None, True) or (newest is not None and newest == before):
        return decided
    if newest is None:
        return decided if isinstance(asked, str) else decided.going_on_from(None)
    return decided.going_on_from(newest[0])


def begun(decided: Decided) -> int | None:
    """Return when the manifest of the run folder was written, which a run does when it begins; None: there is none."""
    from tuning.manifest import MANIFEST_FILE

    folder = Path(str(decided.job.config.training.output_dir)).expanduser()
    with contextlib.suppress(OSError):
        return (folder / MANIFEST_FILE).stat().st_mtime_ns
    return None


def newest_checkpoint(decided: Decided) -> tuple[str, int] | None:
    """Return the newest complete checkpoint of the run folder, and when it was written; None: there is none."""
    from tuning.checkpoints.marker import STATE_FILE
    from tuning.checkpoints.search import find_checkpoint

    config = decided.job.config
    training = config.training.model_copy(update={"resume_from_checkpoint": None})
    with contextlib.suppress(UserError):  # it holds something else: it is not of this run
        if found := find_checkpoint(config.model_copy(update={"training": training})):
            return found, (Path(found) / STATE_FILE).stat().st_mtime_ns
    return None
