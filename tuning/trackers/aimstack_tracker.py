"""Aim: a local repository or a tracking server."""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Dataset, Link, Point, RunInfo
from tuning.trackers.params import Scalar


class AimstackBackend(Backend):
    """Send a run to Aim."""

    package = "aim"
    extra = "aim"

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse half an address, and more than one place."""
        ip, port = options.get("aim_remote_server_ip"), options.get("aim_remote_server_port")
        places = [key for key in ("aim_repo", "aim_remote_server_ip", "aim_url") if options.get(key)]
        found = []
        if port is not None and not ip:
            found.append(Problem("tracking.aim_remote_server_ip", "expected together with aim_remote_server_port"))
        if ip and port is None:
            found.append(Problem("tracking.aim_remote_server_port", "expected together with aim_remote_server_ip"))
        if len(places) > 1:
            found.append(Problem(f"tracking.{places[1]}", f"expected no second place beside {places[0]}"))
        return found

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Create the run under our own id, or go on with the one that bears it."""
        from aim import Repo, Run

        address = _repository(run)
        self._is_remote = "://" in address
        self._files = run.folder / "aim_artifacts" if self._is_remote else Path(address) / "artifacts"
        if not self._is_remote:
            Path(address).mkdir(parents=True, exist_ok=True)
        repo = Repo.from_path(address, init=not self._is_remote)
        run_hash = saved_id or run.run_id[:24]
        exists = repo.run_exists(run_hash)
        with _new_run_called(run_hash):
            self._run: Any = Run(
                run_hash if exists else None,
                repo=repo,
                experiment=run.experiment,
                # Aim's own lock outlives a crash; ours sees to it that there is one sender.
                force_resume=exists,
                system_tracking_interval=None,
                log_system_params=False,
                capture_terminal_logs=False,
            )
        self._run.name = run.name
        self.params({"state": "running", "run_dir": str(run.run_dir)})
        return Link(run_hash, None, _open_with(address))

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params as Aim's nested ones."""
        for key, value in flat.items():
            # Not `Run.set`, which turns every error into a line in the log.
            for tree in (self._run.meta_run_attrs_tree, self._run.meta_attrs_tree):
                tree.set(tuple(key.split(".")), value, strict=False)

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add points with the time they were recorded at; Aim overwrites what it has for a step."""
        for point in batch:
            # `Run.track` would stamp the point with the time of sending.
            self._run._tracker._track(point.value, point.time, point.name, point.step, point.epoch, context={})

    def artifact(self, path: Path, name: str) -> None:
        """Keep a copy of a file, or a reference to a folder, and list it with the run."""
        if path.is_file():
            self._run.set_artifacts_uri(self._files.as_uri())
            self._copy(path, name)
        self.params({f"artifacts.{name.replace('.', '_')}": str(path)})

    def dataset(self, dataset: Dataset) -> None:
        """List the files of a dataset where they stand; nothing of them is copied."""
        from aim.sdk.objects.artifact import Artifact

        for path in map(Path, dataset.paths):
            artifact: Any = Artifact(
                str(path), uri=path.parent.absolute().as_uri(), name=path.name, sha256=dataset.sha256
            )
            self._run.meta_run_tree.subtree("artifacts")[f"data/{dataset.name}/{path.name}"] = artifact

    def flush(self) -> bool:
        """Wait until a server has taken everything; a local repository has it already."""
        if self._is_remote:
            self._run.repo._client.get_queue().wait_for_finish()
        return True

    def close(self, status: str, error: str | None) -> None:
        """Set the state and end the run."""
        self.params({"state": status, **({"error": error} if error else {})})
        self.flush()
        self._run.close()

    def release(self) -> None:
        """Close the files of the repository."""
        self._run.close()

    def _copy(self, path: Path, name: str) -> None:
        from aim.sdk.objects.artifact import Artifact

        target = self._files / self._run.hash / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        artifact: Any = Artifact(str(path), uri=self._run.artifacts_uri, name=name)
        self._run.meta_run_tree.subtree("artifacts")[name] = artifact


@contextlib.contextmanager
def _new_run_called(run_hash: str) -> Iterator[None]:
    """Have Aim give a new run this id: one that was half made when the connection broke is then found again."""
    from aim.sdk import base_run

    original, base_run.generate_run_hash = base_run.generate_run_hash, lambda: run_hash
    try:
        yield
    finally:
        base_run.generate_run_hash = original


def _open_with(address: str) -> str:
    """Name the command that shows a repository; `aim up` takes no address of a server."""
    if "://" not in address:
        return f"aim up --repo {shlex.quote(address)}"
    return f"aim up  # on {urlsplit(address).hostname}, in the folder of the repository that its `aim server` serves"


def _repository(run: RunInfo) -> str:
    options = run.options
    if options.get("aim_remote_server_ip"):
        return f"aim://{options['aim_remote_server_ip']}:{options['aim_remote_server_port']}"
    return str(options.get("aim_url") or options.get("aim_repo") or run.folder / "aim")
