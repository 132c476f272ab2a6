"""`tune export`: write a run's model, or any model or adapter, in the format of another program."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tuning.errors import EXIT_SUCCESS, UserError
from tuning.export.exporter import Options
from tuning.export.exporters import EXPORTERS
from tuning.export.hub import Push, push_to_hub, refuse_local_base, refuse_push, sent_files
from tuning.interruption import stop_on_request
from tuning.recommender.cli import exit_code_of
from tuning.registry import did_you_mean

_DESCRIPTION = """Write the model of a run, or a model or an adapter, in the format of another program; load it again
with that program's library; compare its logits with those of the model on 16 prompts; and only then give it its name.
An export that says something else is removed. Exit codes: 0; 1 for something in the input that you can mend, and for an
export that says something else; 203 for a fault of ours."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"tune export: {message}; see tune export --help")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 the user's input, 203 fault."""
    if not argv:
        _parser().print_help()
        return EXIT_SUCCESS
    with stop_on_request() as request, request.ending_at_once("during the export; what is not whole is removed"):
        return exit_code_of(_export, argv)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("tune export", description=_DESCRIPTION)
    parser.add_argument("model", metavar="RUN_OR_MODEL", help="folder of a run, a model or an adapter, or a Hub id")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(EXPORTERS.names()))
    parser.add_argument("--quantize", metavar="TYPE", help="type of gguf's weights: f16, q8_0 …; default: the model's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write; default: export in the run's folder")
    parser.add_argument("--base", help="base of an adapter, where it is not where adapter_config.json says")
    parser.add_argument("--max-shard-size", default="5GB", help="largest file of the format torch (default 5GB)")
    parser.add_argument("--push_to_hub", action="store_true", help="send the export to the Hub, once it is good")
    parser.add_argument("--hub_repo", metavar="ORG/NAME", help="repository to send it to; a new one is private")
    parser.add_argument("--dry_run", action="store_true", help="with --push_to_hub: tell what would be sent")
    return parser


def _push(args: argparse.Namespace) -> Push | None:
    """Read where the export is sent; None: nowhere.

    Raises:
        UserError: the flags do not go together, or nothing could be sent.
    """
    if not args.push_to_hub:
        if args.hub_repo or args.dry_run:
            raise UserError("--hub_repo and --dry_run say more of --push_to_hub; add it, or leave them out")
        return None
    if not args.hub_repo:
        raise UserError("--push_to_hub: name the repository with --hub_repo")
    push = Push(args.hub_repo, args.dry_run)
    refuse_push(push)
    return push


def _send(folder: Path, push: Push) -> None:
    if not push.dry_run:
        print(f"sent to {push_to_hub(folder, push)}")
        return
    print(f"would be sent to {push.hub_repo}:")
    for name, size in sent_files(folder):
        print(f"  {size:>14,} bytes  {name}")


def _export(argv: Sequence[str]) -> int:
    args = _parser().parse_args(argv)
    if args.to not in EXPORTERS.names():
        raise UserError(f"--to: unknown format '{args.to}'. {did_you_mean(args.to, EXPORTERS.names())}")
    push = _push(args)
    from tuning import console
    from tuning.export.exporting import export_model
    from tuning.export.of_run import EXPORT_FOLDER
    from tuning.export.shards import opened_source

    console.set_up_logging()
    options = Options(args.quantize.lower() if args.quantize else None, args.max_shard_size)
    with opened_source(args.model, args.base) as source:
        if push is not None and args.to == "adapter":
            refuse_local_base(source.saved.base)
        parent = source.run_folder / EXPORT_FOLDER if source.run_folder else Path(f"{source.name}-{EXPORT_FOLDER}")
        parent = parent / (source.checkpoint or "")
        folder = args.out.expanduser() if args.out else parent / options.folder_name(args.to)
        made = export_model(source, args.to, folder, options)
    found = made.comparison
    print(f"{made.folder}: {made.format} in {made.dtype}, {made.seconds:.1f} s")
    print(f"logits differ by up to {found.max_difference:.3g}, most likely token the same at {found.top_1:.1%}")
    if push is not None:
        _send(made.folder, push)
    return EXIT_SUCCESS
