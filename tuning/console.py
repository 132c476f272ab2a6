"""What a person reads of a run: the log's set-up, the banner at the start, the cause of an end, the summary."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.ir import leaves
from tuning.errors import EXIT_INTERNAL_ERROR
from tuning.recommender.action import Recommendation
from tuning.termination_log import write_termination_log
from tuning.world import is_first_here, rank

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl.trainer.sft_config import SFTConfig

    from tuning.data.prepared import Prepared

logger = logging.getLogger("tuning")

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OPENED = (
    ("report.html", "report"),
    ("eval.json", "scores"),
    ("eval.csv", "scores"),
    ("predictions.jsonl", "predictions"),
)
"""Files of a run folder that a person opens, and what each holds."""
_NOISY = ("httpx", "httpcore", "filelock", "fsspec", "urllib3", "matplotlib", "onnx_ir", "onnxscript")


class _RedactingFormatter(logging.Formatter):
    """Write log lines and tracebacks without the secrets in them."""

    def format(self, record: logging.LogRecord) -> str:
        return _redacted(super().format(record))


def _redacted(text: str) -> str:
    from tuning.trackers.redaction import redact_text  # a command that says nothing needs none of its patterns

    return redact_text(text)


def set_up_logging() -> None:
    """Log to standard error from `LOG_LEVEL` on (default INFO); other ranks than zero only warnings."""
    _redacted("")  # imports what the last message needs, which may tell that no file can be opened
    level = os.environ.get("LOG_LEVEL", "").upper() if rank() == 0 else "WARNING"
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level if level in _LEVELS else "INFO", handlers=[handler])
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def hide_progress_bars() -> None:
    """Keep progress bars out of logs that no terminal draws."""
    if not sys.stderr.isatty():
        from datasets import disable_progress_bars
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bars()
        disable_progress_bar()


def tell_notices(notices: Sequence[str]) -> None:
    """Warn of settings that change nothing."""
    for notice in notices:
        logger.warning("%s", notice)


def tell_start(rows: Prepared, checkpoint: str | None, streaming: bool) -> None:
    """State what is trained on, and from where."""
    num_train = "streamed rows" if streaming else f"{rows.num_rows('train')} rows"
    logger.info("data: %s to train on, %d held out, format %s", num_train, rows.num_rows("validation"), rows.format)
    logger.info("tokens: %s %s", "kept in" if rows.is_new else "taken up from", rows.folder)
    if checkpoint is not None:
        logger.info("going on from %s (resume_from_checkpoint=false starts anew)", checkpoint)


def tell_devices(args: SFTConfig, model: PreTrainedModel) -> None:
    """State what really runs: the world size that came up, the device, the precision."""
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    place = f"world size {args.world_size}, device {args.device}"
    size = f"{model.num_parameters():,} parameters"
    logger.info("%s, mixed precision %s, weights %s, %s", place, precision, model.dtype, size)


def tell_plugins(active: Mapping[str, str]) -> None:
    """State which acceleration plugins act, with the versions of their packages."""
    if active:
        logger.info("acceleration: %s", ", ".join(f"{name} {version}" for name, version in active.items()))


def end(exit_code: int, message: str) -> int:
    """Say on standard error, and in the file that Kubernetes reads, why the run ended; returns the exit code.

    Wrong input and a stop are the same to all processes of a machine, and its first one tells of them.
    """
    message = _redacted(message)
    if is_first_here():
        print(message, file=sys.stderr)
        leave_cause(message)
    elif exit_code == EXIT_INTERNAL_ERROR:
        logger.error("rank %d: %s", rank(), message)
    return exit_code


def leave_cause(cause: str) -> None:
    """Write why the run ended to the file that Kubernetes reads; a file that cannot be written is a warning."""
    try:
        write_termination_log(cause)
    except OSError as error:
        logger.warning("TERMINATION_LOG_FILE: %s", error)


def recommendation_lines(recommendations: Sequence[Recommendation]) -> list[str]:
    """Write one line for each value that was filled in: what, which, and why."""
    return [
        f"{path} = {json.dumps(value)}  ({found.action}: {found.comment})"
        for found in recommendations
        for path, value in leaves(found.patch)
    ]


def end_summary(
    recommendations: Sequence[Recommendation],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    folder: Path,
    model_folder: Path,
    scores: Sequence[str] = (),
    exports: Sequence[Path] = (),
) -> str:
    """Write the summary of a finished run: what was recommended and why, results, scores, files, dashboards."""
    parts = [
        ("Recommended", recommendation_lines(recommendations) or ["nothing; every value was yours or a default"]),
        ("Results", _result_lines(metrics, history)),
        ("Scores", scores),
        ("Files", [f"model       {model_folder}", *(f"export      {one}" for one in exports), *_file_lines(folder)]),
        ("Dashboards", _dashboard_lines(folder)),
    ]
    return "\n".join("\n".join([title, *(f"  {line}" for line in lines)]) for title, lines in parts if lines)


def _result_lines(metrics: Mapping[str, float], history: Sequence[Mapping[str, float]]) -> list[str]:
    lines = []
    if "eval_loss" in metrics:
        first, last_step = next((entry for entry in history if "eval_loss" in entry), {}), history[-1]["step"]
        before = f"{first['eval_loss']:.4f} -> " if first.get("step", last_step) < last_step else ""
        lines.append(f"held-out loss  {before}{metrics['eval_loss']:.4f}")
        lines.append(f"perplexity     {metrics['perplexity']:.4g}")
    if "train_loss" in metrics:
        lines.append(f"training loss  {metrics['train_loss']:.4f}")
    if "train_runtime" in metrics:
        lines.append(f"training time  {metrics['train_runtime']:.1f} s")
    return lines


def _file_lines(folder: Path) -> list[str]:
    """Name the run folder, and of the files in it those that a person opens."""
    found = [(what, folder / name) for name, what in _OPENED if (folder / name).is_file()]
    told = [f"run folder  {folder}  (configuration, manifest, tracking/ …)"]
    return told + [f"{what:<11} {path}" for what, path in found]


def _dashboard_lines(folder: Path) -> list[str]:
    links = folder / "tracking" / "links.json"
    try:
        found: dict[str, Any] = json.loads(links.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [f"{name:<7} {entry['open_with']}" for name, entry in found.items() if entry.get("open_with")]
