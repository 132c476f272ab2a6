"""The documented fields of the cluster files that ship, as types that refuse every other field.

Source: the API references of Kubeflow Trainer 2 (trainer.kubeflow.org/v1alpha1), JobSet v1alpha2, Kubernetes batch/v1
and core/v1, the page of Kueue on TrainJobs, and the YAML specification of SkyPilot.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|[KMGT]i?)?$")]
ExitCode = Annotated[int, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """Takes documented fields alone, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Strict):
    name: Name
    labels: dict[str, str] = {}


class Labels(Strict):
    labels: dict[str, str]


class ExitCodes(Strict):
    containerName: Name
    operator: Literal["In", "NotIn"]
    values: Annotated[list[ExitCode], Field(min_length=1)]


class PodFailureRule(Strict):
    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    onExitCodes: ExitCodes


class PodFailurePolicy(Strict):
    rules: list[PodFailureRule]


class SecretKey(Strict):
    name: Name
    key: str
    optional: bool = False


class ValueFrom(Strict):
    secretKeyRef: SecretKey


class Variable(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    value: str | None = None
    valueFrom: ValueFrom | None = None


class Capabilities(Strict):
    drop: list[str]


class ContainerSecurity(Strict):
    allowPrivilegeEscalation: bool
    capabilities: Capabilities


class Mount(Strict):
    name: Name
    mountPath: Annotated[str, Field(pattern="^/")]


class Container(Strict):
    name: Name
    image: str
    command: list[str]
    args: list[str]
    env: list[Variable]
    securityContext: ContainerSecurity
    volumeMounts: list[Mount]


class SeccompProfile(Strict):
    type: Literal["RuntimeDefault", "Localhost", "Unconfined"]


class PodSecurity(Strict):
    runAsNonRoot: bool
    runAsUser: int
    runAsGroup: int
    fsGroup: int
    seccompProfile: SeccompProfile


class Claim(Strict):
    claimName: Name


class EmptyDir(Strict):
    medium: Literal["", "Memory"]
    sizeLimit: Quantity


class Volume(Strict):
    name: Name
    persistentVolumeClaim: Claim | None = None
    emptyDir: EmptyDir | None = None


class PodSpec(Strict):
    restartPolicy: Literal["Always", "OnFailure", "Never"]
    terminationGracePeriodSeconds: Count
    automountServiceAccountToken: bool
    securityContext: PodSecurity
    containers: list[Container]
    volumes: list[Volume]


class PodTemplate(Strict):
    spec: PodSpec


class JobSpec(Strict):
    backoffLimit: Annotated[int, Field(ge=0)]
    podFailurePolicy: PodFailurePolicy
    template: PodTemplate


class JobTemplate(Strict):
    metadata: Labels
    spec: JobSpec


class ReplicatedJob(Strict):
    name: Annotated[Name, Field(max_length=20)]
    template: JobTemplate


class JobSetRule(Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    action: Literal["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
    onJobFailureReasons: list[Literal["BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"]]


class JobSetFailurePolicy(Strict):
    maxRestarts: Annotated[int, Field(ge=0)]
    rules: list[JobSetRule]


class JobSetSpec(Strict):
    failurePolicy: JobSetFailurePolicy
    replicatedJobs: list[ReplicatedJob]


class JobSetTemplate(Strict):
    spec: JobSetSpec


class Torch(Strict):
    numProcPerNode: Count | Literal["auto", "cpu", "gpu"]


class MLPolicy(Strict):
    numNodes: Count
    torch: Torch


class TrainingRuntimeSpec(Strict):
    mlPolicy: MLPolicy
    template: JobSetTemplate


class TrainingRuntime(Strict):
    apiVersion: Literal["trainer.kubeflow.org/v1alpha1"]
    kind: Literal["TrainingRuntime"]
    metadata: Metadata
    spec: TrainingRuntimeSpec


class RuntimeRef(Strict):
    apiGroup: Literal["trainer.kubeflow.org"]
    kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"]
    name: Name


class Resources(Strict):
    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class Trainer(Strict):
    numNodes: Count
    resourcesPerNode: Resources


class TrainJobSpec(Strict):
    runtimeRef: RuntimeRef
    trainer: Trainer


class TrainJob(Strict):
    apiVersion: Literal["trainer.kubeflow.org/v1alpha1"]
    kind: Literal["TrainJob"]
    metadata: Metadata
    spec: TrainJobSpec


class JobRecovery(Strict):
    strategy: Literal["FAILOVER", "EAGER_NEXT_REGION"] | None = None
    max_restarts_on_errors: Annotated[int, Field(ge=0)]
    recover_on_exit_codes: list[ExitCode]


class SkyResources(Strict):
    accelerators: dict[str, Count]
    use_spot: bool
    disk_size: Count
    job_recovery: JobRecovery


class SkyStorage(Strict):
    name: Name
    mode: Literal["MOUNT", "COPY", "MOUNT_CACHED"]


class SkyTask(Strict):
    name: Name
    resources: SkyResources
    workdir: str
    file_mounts: dict[str, SkyStorage]
    envs: dict[str, Any]
    secrets: dict[str, None]
    setup: str
    run: str
