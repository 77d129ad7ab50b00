"""Environment: where pipelines run, as whom, within which bounds, and where their data lives."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import (
    LIST_ATOMIC,
    LIST_BY_NAME,
    LIST_BY_TYPE,
    LIST_SET,
    AnyJson,
    ApiModel,
    Duration,
    Identifier,
    Name,
    Text,
    Timestamp,
    rule,
    rules,
)
from .conditions import Condition
from .podtemplate import LabelMap, PodPolicy, Toleration
from .step import Quantity, Resources
from .target import ClaimName, Port, Target


class EnvironmentParameter(ApiModel):
    """A value that this environment gives: `$(env.params.<name>)`, and a pipeline's parameter of that name."""

    name: Identifier
    """Name."""
    value: AnyJson = None
    """Value: any JSON; a string is read by the type that the pipeline's parameter has."""
    masked: bool = False
    """Whether the value is kept out of every status and event. A masked value is no secret: who may read this object
    or the pods sees it; credentials belong into Vault."""


class Vault(ApiModel):
    """How the runs of this environment get at secrets."""

    server: Name = "default"
    """Which of the servers that the administrator defined in the chart's values."""
    role: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", min_length=1, max_length=128)]
    """Vault role that runs log in with, as the runner's ServiceAccount of the execution namespace."""
    delivery: Literal["Secret", "Pod"] = "Secret"
    """Secret: the operator reads for the run and makes one immutable Secret, removed at the run's end. Pod: each pod
    logs in itself and keeps what it reads in memory; the operator never sees a value and nothing reaches etcd."""
    on_unavailable: Literal["Wait", "Fail"] = "Wait"
    """What a run does while Vault cannot be reached, is sealed or overloaded: wait, visibly, or fail."""
    wait_limit: Duration = "10m"
    """How long it waits before it fails."""


class PullSecret(ApiModel):
    """A Secret with credentials for an image registry."""

    name: ClaimName
    """Name of a Secret in the execution namespace."""


class PodDefaults(ApiModel):
    """What the pods of every step in this environment have."""

    resources: Resources | None = None
    """Compute resources of steps that say none; the pipeline's own come first."""
    node_selector: LabelMap | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """Taints that the pods tolerate."""
    image_pull_secrets: Annotated[list[PullSecret], Field(max_length=8, json_schema_extra=LIST_BY_NAME)] | None = None
    """Secrets with credentials for image registries."""


class ImagePolicy(ApiModel):
    """Which images may run here."""

    allowed_registries: (
        Annotated[
            list[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:/_-]*$", min_length=1, max_length=253)]],
            Field(min_length=1, max_length=32, json_schema_extra=LIST_SET),
        ]
        | None
    ) = None
    """Registries, or paths in them, such as ghcr.io/acme; compared part by part: ghcr.io/acme-evil is not one."""
    require_digest: bool = False
    """Whether an image must be named by digest."""


class Selector(ApiModel):
    """A label selector."""

    match_labels: LabelMap = Field(default_factory=dict)
    """Labels, all of which must be there; empty selects everything."""


class IpBlock(ApiModel):
    """A range of addresses."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule("isCIDR(self.cidr)", "cidr is a range of addresses such as 10.0.0.0/8 or 2001:db8::/32", ".cidr")
        )
    }

    cidr: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", min_length=3, max_length=64)]
    """Range, such as 10.0.0.0/8."""
    except_: (
        Annotated[
            list[Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", max_length=64)]],
            Field(max_length=16, json_schema_extra=LIST_ATOMIC),
        ]
        | None
    ) = Field(default=None, alias="except")
    """Ranges inside it that stay closed."""


class Peer(ApiModel):
    """Where traffic may go, as a NetworkPolicy has it."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "has(self.ipBlock) != (has(self.namespaceSelector) || has(self.podSelector))",
                "a peer is either ipBlock, or namespaceSelector and podSelector; give one of the two",
            )
        )
    }

    ip_block: IpBlock | None = None
    """A range of addresses."""
    namespace_selector: Selector | None = None
    """Namespaces by label."""
    pod_selector: Selector | None = None
    """Pods by label, in the selected namespaces or in this one."""


class EgressPort(ApiModel):
    """A port."""

    port: Port
    """Number."""
    protocol: Literal["TCP", "UDP"] = "TCP"
    """Protocol."""


class Egress(ApiModel):
    """Traffic that may leave the environment's pods."""

    to: Annotated[list[Peer], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """Where to; anywhere where unset."""
    ports: Annotated[list[EgressPort], Field(max_length=16, json_schema_extra=LIST_ATOMIC)] | None = None
    """On which ports; all where unset."""


class Network(ApiModel):
    """What the pods may talk to besides cluster DNS, and Vault where they need it: nothing else is open."""

    egress: Annotated[list[Egress], Field(max_length=32, json_schema_extra=LIST_ATOMIC)] | None = None
    """Further traffic that may leave."""


class Quota(ApiModel):
    """What the environment may use at most."""

    runs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Runs under way at once; more wait, in the order of their creation, and say their place."""
    jobs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Jobs at work at once; more wait."""
    hard: Quantity | None = None
    """Limits of a ResourceQuota in the execution namespace, such as requests.cpu: 32."""


class Subject(ApiModel):
    """Somebody, as a RoleBinding has it."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            rule(
                "!has(self.__namespace__) || self.kind == 'ServiceAccount'",
                "only a ServiceAccount has a namespace; remove it",
                ".namespace",
            )
        )
    }

    kind: Literal["User", "Group", "ServiceAccount"]
    """What it is."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    """Name."""
    namespace: Name | None = None
    """Namespace of a ServiceAccount; the Environment's own where unset."""


class Access(ApiModel):
    """A role in the execution namespace and who has it."""

    role: Literal["View", "Run", "Promote", "Edit"]
    """View reads; Run starts and ends runs; Promote starts promotions; Edit does all of it."""
    subjects: Annotated[list[Subject], Field(min_length=1, max_length=64, json_schema_extra=LIST_ATOMIC)]
    """Who has it."""


class DataMode(StrEnum):
    """What a branch environment begins with."""

    EMPTY = "Empty"
    COPY = "Copy"
    READ_THROUGH = "ReadThrough"


def _fixed(field: str) -> dict[str, str]:
    word = "__namespace__" if field == "namespace" else field  # a reserved word of CEL is written so
    same = f"has(self.{word}) == has(oldSelf.{word}) && (!has(self.{word}) || self.{word} == oldSelf.{word})"
    return rule(same, f"{field} cannot change: delete the environment and make another", f".{field}")


class EnvironmentSpec(ApiModel):
    """Desired environment."""

    model_config = ApiModel.model_config | {
        "json_schema_extra": rules(
            _fixed("namespace"),
            _fixed("branch"),
            _fixed("dataMode"),
            _fixed("from"),
            rule(
                "!has(self.branch) || has(self.from)",
                "branch needs from: the environment it branches off",
                ".branch",
            ),
            rule(
                "!has(self.dataMode) || has(self.from)",
                "dataMode needs from: where the data comes from",
                ".dataMode",
            ),
            rule(
                "!has(self.restricted) || !self.restricted || !has(self.vault)"
                " || (has(self.vault.delivery) && self.vault.delivery == 'Pod')",
                "a restricted environment keeps secrets out of etcd; set vault.delivery to Pod",
                ".vault",
            ),
        )
    }

    description: Text | None = None
    """What the environment is for."""
    namespace: Name | None = None
    """Execution namespace: made where it does not exist, taken where it carries the label
    dataops.dev/allow-project: <this object's namespace>. Unset: this object's own namespace; for an environment with
    `from`, `<this object's namespace>-<name>`."""
    upstream: Name | None = None
    """Environment that promotions come from."""
    parameters: Annotated[list[EnvironmentParameter], Field(max_length=64, json_schema_extra=LIST_BY_NAME)] | None = (
        None
    )
    """Values of this environment; a run's own come first, the pipeline's defaults last."""
    targets: Annotated[list[Target], Field(max_length=32, json_schema_extra=LIST_BY_NAME)] | None = None
    """Where data lives. An environment with `from` derives its own from the parent's; one named here replaces it."""
    vault: Vault | None = None
    """How runs get at secrets; with `from`, the parent's where unset."""
    restricted: bool = False
    """Whether secrets must never reach etcd: vault.delivery must then be Pod."""
    pod_defaults: PodDefaults | None = None
    """What the pods of every step have."""
    pod_policy: PodPolicy | None = None
    """What steps may ask of their pods by podTemplate, beyond what is harmless anywhere."""
    images: ImagePolicy | None = None
    """Which images may run here."""
    network: Network | None = None
    """What the pods may talk to besides DNS, the targets and, where they log in to Vault themselves, Vault."""
    quota: Quota | None = None
    """What the environment may use at most."""
    access: Annotated[list[Access], Field(max_length=8, json_schema_extra=LIST_ATOMIC)] | None = None
    """Who may do what in the execution namespace; with `from`, who may in the parent's where unset."""
    pod_security: Literal["restricted", "baseline"] = "restricted"
    """Pod Security level that an execution namespace enforces which the environment makes."""
    freeze: bool = False
    """Whether new runs wait: those under way go on."""
    from_: Name | None = Field(default=None, alias="from")
    """Environment of this namespace to branch off: its parameters, targets, Vault server and bounds, where not said
    otherwise here. It is no branch itself, and a branch may allow no more images than it does."""
    branch: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Git branch that the environment is for."""
    data_mode: DataMode | None = None
    """Empty begins with nothing (where unset); Copy with a copy of the parent's data; ReadThrough reads the parent's
    through `$(targets.<name>.readUrl)` with credentials that cannot write, and writes its own."""
    ttl: Duration | None = None
    """How long after its creation the environment deletes itself; a warning is told before."""


class TargetStatus(ApiModel):
    """Where one target stands."""

    name: Name
    """Name of the target."""
    kind: Annotated[str, StringConstraints(max_length=32)]
    """postgres, s3, volume or duckdb."""
    url: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Address that runs get; without credentials."""
    read_url: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Address that runs read from, where it is another one."""
    reachable: Literal["True", "False", "Unknown"] = "Unknown"
    """Whether the last probe could read, and write where runs write."""
    message: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """What the probe said."""
    used_bytes: int | None = None
    """Bytes in it, as the last probe counted them."""
    checked_at: Timestamp | None = None
    """When the last probe ended."""


class EnvironmentStatus(ApiModel):
    """What the operator found and did."""

    observed_generation: int = -1
    """The metadata.generation that this status speaks of."""
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] | None = None
    """Ready, Reconciling, Stalled, and one for each part: NamespaceReady, AccessReady, QuotaReady, NetworkReady,
    VaultReady, TargetsReady."""
    namespace: Annotated[str, StringConstraints(max_length=63)] | None = None
    """Execution namespace."""
    created_namespace: bool | None = None
    """Whether this environment made it, so that it goes with the environment."""
    targets: Annotated[list[TargetStatus], Field(max_length=32, json_schema_extra=LIST_ATOMIC)] | None = None
    """Where each target stands."""
    active_runs: int | None = None
    """Runs under way."""
    waiting_runs: int | None = None
    """Runs that wait to begin."""
    expires_at: Timestamp | None = None
    """When the environment deletes itself."""
    changed_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Who wrote the spec, as the API server knows them."""


class Environment(ApiModel):
    """Where pipelines run, as whom, within which bounds, and where their data lives."""

    spec: EnvironmentSpec = EnvironmentSpec()
    """Desired environment."""
    status: EnvironmentStatus | None = None
    """What the operator found and did."""


CRD: dict[str, Any] = {
    "kind": "Environment",
    "plural": "environments",
    "singular": "environment",
    "shortNames": ["denv"],
    "model": Environment,
    "rules": [
        rule(
            "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "an environment's name is a DNS label of at most 40 characters: namespaces and schemas are named after it",
        )
    ],
    "columns": [
        ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0, "Whether runs can start"),
        ("Namespace", "string", ".status.namespace", 0, "Execution namespace"),
        ("Runs", "integer", ".status.activeRuns", 0, "Runs under way"),
        ("From", "string", ".spec.from", 0, "Environment it branched off"),
        ("Age", "date", ".metadata.creationTimestamp", 0, "Age"),
        ("Expires", "string", ".status.expiresAt", 1, "When it deletes itself"),
        ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 1, "What to know"),
    ],
    "selectableFields": [".spec.from", ".status.namespace"],
}
