"""The files for clusters: their fields, what they allow, and the script's way with the codes that a run ends with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deploy_schemas import SkyTask, TrainingRuntime, TrainJob
from pydantic import ValidationError

from tuning.errors import EXIT_PREEMPTED, EXIT_USER_ERROR

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
DOCKERFILES = sorted(path for path in DEPLOY.glob("Dockerfile*") if path.suffix != ".dockerignore")
EVERY_DOCKERFILE = pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
SCRIPT = DEPLOY / "slurm" / "train.sbatch"


def instructions(file: Path) -> list[tuple[str, str]]:
    """List a Dockerfile's instructions with what follows them, continued lines as one."""
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.partition(" ") for line in joined)]


def manifests() -> tuple[TrainingRuntime, TrainJob]:
    runtime, job = yaml.safe_load_all((DEPLOY / "kubernetes" / "trainjob.yaml").read_text())
    return TrainingRuntime.model_validate(runtime), TrainJob.model_validate(job)


def test_there_is_an_image_for_cpus_and_one_for_gpus() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile", "Dockerfile.cuda"]


@EVERY_DOCKERFILE
def test_an_image_starts_from_a_base_of_one_version(file: Path) -> None:
    bases = [rest for word, rest in instructions(file) if word == "FROM"]
    assert len(bases) == 1
    assert re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+[\w.-]*", bases[0])


@EVERY_DOCKERFILE
def test_an_image_runs_as_a_user_without_rights_and_takes_signals_itself(file: Path) -> None:
    found = instructions(file)
    assert [rest for word, rest in found if word == "USER"] == ["10001:10001"]
    after = [word for word, _ in found][[word for word, _ in found].index("USER") + 1 :]
    assert after == ["ENTRYPOINT", "CMD"]
    assert ("ENTRYPOINT", '["tune"]') in found


@EVERY_DOCKERFILE
def test_an_image_takes_files_of_the_checkout_alone_and_holds_no_secret(file: Path) -> None:
    found = instructions(file)
    assert "ADD" not in {word for word, _ in found}
    copied = {source for word, rest in found if word == "COPY" for source in rest.split()[:-1]}
    ignored = (DEPLOY / f"{file.name}.dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((DEPLOY.parent / name).exists() for name in copied)
    assert not re.search(r"(?i)(token|password|api_key|curl|wget|://)", " ".join(rest for _, rest in found))


def test_the_manifests_have_documented_fields_alone() -> None:
    runtime, job = manifests()
    assert job.spec.runtimeRef.name == runtime.metadata.name
    assert {"kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"} == job.metadata.labels.keys()


def test_a_field_that_is_none_would_be_found() -> None:
    document = yaml.safe_load((DEPLOY / "skypilot" / "train.yaml").read_text())
    document["resources"]["job_recovery"]["max_restart_on_errors"] = 1
    with pytest.raises(ValidationError, match="max_restart_on_errors"):
        SkyTask.model_validate(document)


def test_a_pod_is_one_process_that_a_stop_starts_anew_and_wrong_input_ends() -> None:
    runtime, _ = manifests()
    (job,) = runtime.spec.template.spec.replicatedJobs
    (container,) = job.template.spec.template.spec.containers
    (rule,) = job.template.spec.podFailurePolicy.rules
    assert (rule.action, rule.onExitCodes.values) == ("FailJob", [EXIT_USER_ERROR])
    assert rule.onExitCodes.containerName == container.name
    assert runtime.spec.template.spec.failurePolicy.maxRestarts > 0
    assert "exec python -m tuning.sft_trainer" in container.args[0]
    assert {mount.name for mount in container.volumeMounts} == {
        volume.name for volume in job.template.spec.template.spec.volumes
    }


def test_a_pod_runs_without_rights_and_without_a_token_of_the_cluster() -> None:
    runtime, _ = manifests()
    pod = runtime.spec.template.spec.replicatedJobs[0].template.spec.template.spec
    assert pod.securityContext.runAsNonRoot and not pod.automountServiceAccountToken
    assert not pod.containers[0].securityContext.allowPrivilegeEscalation
    assert all(each.value is None for each in pod.containers[0].env if each.name.endswith("TOKEN"))


def test_the_task_of_skypilot_goes_on_after_a_stop_alone() -> None:
    task = SkyTask.model_validate(yaml.safe_load((DEPLOY / "skypilot" / "train.yaml").read_text()))
    assert task.resources.job_recovery.recover_on_exit_codes == [EXIT_PREEMPTED]
    assert task.resources.job_recovery.max_restarts_on_errors == 0


@pytest.mark.parametrize("text", ["run", "setup"])
def test_the_commands_of_skypilot_are_shell(text: str) -> None:
    script = yaml.safe_load((DEPLOY / "skypilot" / "train.yaml").read_text())[text]
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_the_script_is_bash_and_warns_the_run_ahead_of_the_end() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    options = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SCRIPT.read_text(), re.MULTILINE)
    assert dict(options)["signal"] == "USR1@300"
    assert ("requeue", "") in options
    assert os.access(SCRIPT, os.X_OK)


def submit(
    folder: Path, code: int, restarts: int | None = None, requeue_fails: bool = False
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script under a scheduler that starts one task on each of two machines; the training ends with `code`."""
    stubs = {
        "scontrol": 'echo "$*" >>"$CALLS"\n[ "$1" = show ] && printf "node1\\nnode2\\n"\n'
        f'[ "$1" != requeue ] || exit {int(requeue_fails)}',
        "srun": 'shift\nfor rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=0 SLURM_NTASKS=2 "$@" || code=$?; done\n'
        'exit "${code:-0}"',
        "train": f'echo "$RANK/$WORLD_SIZE $LOCAL_RANK $MASTER_ADDR:$MASTER_PORT $*" >>"$CALLS"\nexit {code}',
    }
    for name, body in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "PYTHON": str(folder / "train"),
        "SLURM_JOB_ID": "41234",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "MAX_REQUEUES": "3",
        **({} if restarts is None else {"SLURM_RESTART_COUNT": str(restarts)}),
    }
    bash = str(shutil.which("bash"))
    command = [bash, str(SCRIPT), "run.yaml", "run_name=two words"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    return done, (folder / "calls").read_text().splitlines()


def test_the_script_starts_one_process_for_each_task(tmp_path: Path) -> None:
    done, calls = submit(tmp_path, code=0)
    trained = "-m tuning.sft_trainer run.yaml run_name=two words"
    assert calls[1:] == [f"0/2 0 node1:21234 {trained}", f"1/2 0 node1:21234 {trained}"]
    assert done.returncode == 0


@pytest.mark.parametrize("restarts", [None, 2])
def test_a_run_that_was_stopped_is_queued_again(restarts: int | None, tmp_path: Path) -> None:
    done, calls = submit(tmp_path, EXIT_PREEMPTED, restarts)
    assert calls[-1] == "requeue 41234"
    assert "stopped with a checkpoint; job 41234 is queued again" in done.stdout
    assert done.returncode == EXIT_PREEMPTED


@pytest.mark.parametrize("code", [0, 1, 203, 137])
def test_a_run_that_ended_is_not_queued_again(code: int, tmp_path: Path) -> None:
    done, calls = submit(tmp_path, code)
    assert not [call for call in calls if call.startswith("requeue")]
    assert done.returncode == code


def test_a_run_is_not_queued_for_ever(tmp_path: Path) -> None:
    done, calls = submit(tmp_path, EXIT_PREEMPTED, restarts=3)
    assert "requeue 41234" not in calls
    assert "MAX_REQUEUES allows no more" in done.stderr
    assert done.returncode == EXIT_PREEMPTED


def test_a_queue_that_takes_nothing_is_told_of(tmp_path: Path) -> None:
    done, _ = submit(tmp_path, EXIT_PREEMPTED, requeue_fails=True)
    assert "cannot be queued again" in done.stderr
    assert done.returncode == EXIT_PREEMPTED


def test_the_script_says_how_it_is_used() -> None:
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("usage: sbatch train.sbatch run.yaml")) == (1, True)
