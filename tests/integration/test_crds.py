"""The CRDs as the API server takes them: every rule refuses what it should, and nothing else."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.builders import a_pipeline, a_run
from tests.harness.api import Api, ApiError
from tests.harness.kinds import CRDS, ENVIRONMENTS, NAMESPACES, PIPELINES, RUNS, TEMPLATES, Kind

from dataops_operator.api.base import GROUP
from localcluster import binaries
from localcluster.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
NAMESPACE = "crds"
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
KINDS = (ENVIRONMENTS, TEMPLATES, PIPELINES, RUNS)
Object = dict[str, Any]
Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """Run the built kubectl; gives its output, fails the test where it fails."""
    program = binaries.ensure("kubernetes") / "kubectl"

    def run(*arguments: str, stdin: str | None = None) -> str:
        command = [str(program), "--kubeconfig", str(control_plane.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module", autouse=True)
def applied(kubectl: Kubectl) -> None:
    """The CRDs by plain `kubectl apply`, and a namespace."""
    kubectl("apply", "-k", str(ROOT / "crds"))
    for kind in KINDS:
        kubectl("wait", "--for=condition=Established", f"crd/{kind.plural}.{GROUP}", "--timeout=30s")
    kubectl("create", "namespace", NAMESPACE)


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[Api]:
    """A session with the API server."""
    async with Api(control_plane.server, control_plane.token, control_plane.ca) as made:
        for kind in KINDS:
            await until_served(made, kind)
        yield made


async def until_served(api: Api, kind: Kind) -> None:
    """Established is said a moment before the kind is served."""
    for _ in range(100):
        try:
            await api.list(kind, NAMESPACE)
            return
        except ApiError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{kind.plural} are not served")


async def refusal(api: Api, body: Object, old: Object | None = None) -> str:
    """Why the API server refuses an object, or its new form; empty where it takes it."""
    kind = {one.name: one for one in KINDS}[body["kind"]]
    name = body["metadata"]["name"]
    body = body | {"metadata": {**body["metadata"], "namespace": NAMESPACE}}
    try:
        if old is None:
            await api.request("POST", kind.path(NAMESPACE), body, STRICT)
            return ""
        old = old | {"metadata": {"name": name, "namespace": NAMESPACE}}
        made = await api.request("POST", kind.path(NAMESPACE), old)
        body["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        try:
            await api.request("PUT", kind.path(NAMESPACE, name), body, STRICT)
        finally:
            await api.delete(kind, NAMESPACE, name)
    except ApiError as error:
        if error.status != 422:
            raise
        return str(error)
    return ""


# One case for every rule of the schemas: what it refuses and where, and the nearest thing that it takes.


def pipeline(name: str = "p", **fields: Any) -> Object:
    return a_pipeline(name).step("a", **fields).build()


def with_parameter(type_: str | None, **fields: Any) -> Object:
    body = pipeline()
    body["spec"]["parameters"] = [{"name": "p", **({"type": type_} if type_ else {}), **fields}]
    return body


def with_workspace(**fields: Any) -> Object:
    return a_pipeline("p").step("a").having(workspace=fields).build()


def with_concurrency(**fields: Any) -> Object:
    return a_pipeline("p").step("a").having(concurrency={"limit": 1, **fields}).build()


def run(name: str = "r", **fields: Any) -> Object:
    return a_run(name).having(**fields).build()


def environment(name: str = "e", **fields: Any) -> Object:
    return {
        "apiVersion": ENVIRONMENTS.group_version,
        "kind": "Environment",
        "metadata": {"name": name},
        "spec": {key.rstrip("_"): value for key, value in fields.items()},
    }


def with_target(**fields: Any) -> Object:
    return environment(targets=[{"name": "t", **fields}])


def with_peer(**fields: Any) -> Object:
    return environment(network={"egress": [{"to": [fields]}]})


def with_subject(**fields: Any) -> Object:
    return environment(access=[{"role": "View", "subjects": [{"kind": "User", "name": "jane", **fields}]}])


def with_credentials(**vault: Any) -> Object:
    return with_target(postgres={"host": "pg", "database": "dwh", "credentials": {"vault": vault}})


def with_secret(**vault: Any) -> Object:
    return a_pipeline("p").step("a").having(secrets=[{"name": "s", "vault": vault}]).build()


PG: Object = {"host": "pg", "database": "dwh"}
S3: Object = {"endpoint": "https://s3.example", "bucket": "lake"}
SEALED: Object = {"key": "k", "ciphertext": "vault:v1:x"}
P, R, E, T = "Pipeline", "PipelineRun", "Environment", "StepTemplate"


def template(name: str = "t", **fields: Any) -> Object:
    spec = {"image": "img", **fields}
    spec = {key: value for key, value in spec.items() if value is not None}
    return {"apiVersion": TEMPLATES.group_version, "kind": T, "metadata": {"name": name}, "spec": spec}


OF_A_JOB: Object = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "when": "object.status.succeeded > 0"}


RAY: Object = {"manifest": {"apiVersion": "ray.io/v1", "kind": "RayJob"}, "successWhen": "object.status.done"}


def jobless(**fields: Any) -> Object:
    return pipeline(**{"image": None, "command": None, **fields})


WITH: Object = {"with": [{"name": "a"}]}


def templated(**fields: Any) -> Object:
    return pipeline(image=None, command=None, template={"name": "t"}, **fields)


def of_template(type_: str | None, **fields: Any) -> Object:
    return template(parameters=[{"name": "p", **({"type": type_} if type_ else {}), **fields}])


def of_secrets(kind: str, path: str, make: Callable[..., Object]) -> dict[tuple[str, str], list[Any]]:
    """The rules on where a secret comes from: they hold in pipelines and in targets."""
    there = f"{path}.path"
    return {
        (kind, "give exactly one of path and transit"): [
            (path, make(path="kv/a", transit=SEALED), make(path="kv/a")),
            (path, make(), make(transit=SEALED)),
        ],
        (kind, "write a plain path"): [
            (there, make(path="kv/../sys"), make(path="kv/a.b")),
            (there, make(path="kv//a"), make(path="kv/a")),
            (there, make(path="kv/a/"), make(path="secret/data/team/api")),
        ],
        (kind, "no secret is there: sys, auth, identity and cubbyhole"): [
            (there, make(path="sys/mounts"), make(path="system/mounts")),
            (there, make(path="auth/token/create"), make(path="authors/token")),
            (there, make(path="identity/entity"), make(path="kv/identity/entity")),
            (there, make(path="cubbyhole/x"), make(path="kv/x")),
        ],
        (kind, "version is for a path of a key-value engine"): [
            (f"{path}.version", make(transit=SEALED, version=1), make(path="secret/data/a", version=1)),
            (
                f"{path}.version",
                make(path="pki/issue/web", data=[{"name": "ttl", "value": "1h"}], version=1),
                make(path="pki/issue/web", data=[{"name": "ttl", "value": "1h"}]),
            ),
        ],
        (kind, "data is written to a path"): [
            (
                f"{path}.data",
                make(transit=SEALED, data=[{"name": "a"}]),
                make(path="pki/issue/web", data=[{"name": "a"}]),
            ),
        ],
    }


def of_pods(kind: str, path: str, make: Callable[..., Object]) -> dict[tuple[str, str], list[Any]]:
    """The rules on a podTemplate: they hold in pipelines and in step templates."""

    def mounted(place: str) -> Object:
        return make(volumes=[{"name": "a", "emptyDir": {}}], volumeMounts=[{"name": "a", "mountPath": place}])

    def holding(**fields: Any) -> Object:
        return make(volumes=[{"name": "a", **fields}])

    def needing(**fields: Any) -> Object:
        terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", **fields}]}]}
        return make(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})

    there = f"{path}.volumeMounts[0].mountPath"
    required = "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]"
    memory, claim = {"medium": "Memory"}, {"name": "c"}
    return {
        (kind, "/tmp and /dataops are the step contract's"): [
            (there, mounted("/tmp"), mounted("/tmp/x")),
            (there, mounted("/dataops"), mounted("/dataops-2")),
            (there, mounted("/dataops/secrets/api"), mounted("/var/dataops/secrets")),
            (there, mounted("/proc/1"), mounted("/srv/proc/1")),
            (there, mounted("/dev/shm"), mounted("/devices")),
        ],
        (kind, "a volume is exactly one of emptyDir, configMap and claim"): [
            (f"{path}.volumes[0]", holding(), holding(emptyDir={})),
            (f"{path}.volumes[0]", holding(emptyDir={}, claim=claim), holding(claim=claim)),
        ],
        (kind, "memory is the node's"): [
            (
                f"{path}.volumes[0].emptyDir.sizeLimit",
                holding(emptyDir=memory),
                holding(emptyDir=memory | {"sizeLimit": "1Gi"}),
            ),
        ],
        (kind, "In, NotIn, Gt and Lt need values"): [
            (
                f"{path}.affinity.{required}.values",
                needing(operator="In"),
                needing(operator="In", values=["ssd"]),
            ),
            (
                f"{path}.affinity.{required}.values",
                needing(operator="Exists", values=["ssd"]),
                needing(operator="Exists"),
            ),
        ],
    }


CREATED: dict[tuple[str, str], list[tuple[str, Object, Object]]] = {
    **of_pods(P, "spec.steps[0].podTemplate", lambda **fields: pipeline(podTemplate=fields)),
    **of_pods(T, "spec.podTemplate", lambda **fields: template(podTemplate=fields)),
    (E, "labels of dataops.dev, kubernetes.io and k8s.io"): [
        (
            "spec.podPolicy.labels",
            environment(podPolicy={"labels": ["dataops.dev/run-uid"]}),
            environment(podPolicy={"labels": ["team", "acme.example/dataops.dev"]}),
        ),
        (
            "spec.podPolicy.labels",
            environment(podPolicy={"labels": ["team", "pod-security.kubernetes.io/enforce"]}),
            environment(podPolicy={"labels": ["notkubernetes.io/x"]}),
        ),
    ],
    (E, "annotations of dataops.dev, kubernetes.io and k8s.io"): [
        (
            "spec.podPolicy.annotations",
            environment(podPolicy={"annotations": ["apps.k8s.io/x"]}),
            environment(podPolicy={"annotations": ["acme.example/x"]}),
        ),
    ],
    (E, "the classes system-... are the cluster's own"): [
        (
            "spec.podPolicy.priorityClasses",
            environment(podPolicy={"priorityClasses": ["system-node-critical"]}),
            environment(podPolicy={"priorityClasses": ["batch-system"]}),
        ),
    ],
    **of_secrets(P, "spec.secrets[0].vault", with_secret),
    **of_secrets(E, "spec.targets[0].postgres.credentials.vault", with_credentials),
    (E, "an environment's name is a DNS label of at most 40 characters"): [
        ("<nil>", environment("e" * 41), environment("e" * 40)),
        ("<nil>", environment("e.f"), environment("e-f")),
    ],
    (E, "branch needs from"): [("spec.branch", environment(branch="b"), environment(branch="b", from_="prod"))],
    (E, "dataMode needs from"): [
        ("spec.dataMode", environment(dataMode="Copy"), environment(dataMode="Copy", from_="prod")),
    ],
    (E, "a restricted environment keeps secrets out of etcd"): [
        (
            "spec.vault",
            environment(restricted=True, vault={"role": "r", "delivery": "Secret"}),
            environment(restricted=True, vault={"role": "r", "delivery": "Pod"}),
        ),
        ("spec.vault", environment(restricted=True, vault={"role": "r"}), environment(vault={"role": "r"})),
    ],
    (E, "a target is exactly one of"): [
        ("spec.targets[0]", with_target(), with_target(postgres=PG)),
        ("spec.targets[0]", with_target(postgres=PG, s3=S3), with_target(s3=S3)),
        (
            "spec.targets[0]",
            with_target(volume={"size": "1Gi"}, duckdb={"size": "1Gi"}),
            with_target(duckdb={"size": "1Gi"}),
        ),
    ],
    (E, "give exactly one of size"): [
        ("spec.targets[0].volume", with_target(volume={}), with_target(volume={"size": "1Gi"})),
        (
            "spec.targets[0].duckdb",
            with_target(duckdb={"size": "1Gi", "claim": "c"}),
            with_target(duckdb={"claim": "c"}),
        ),
    ],
    (E, "storageClass and accessMode belong to a claim that the environment makes"): [
        (
            "spec.targets[0].volume.claim",
            with_target(volume={"claim": "c", "storageClass": "fast"}),
            with_target(volume={"size": "1Gi", "storageClass": "fast"}),
        ),
        (
            "spec.targets[0].duckdb.claim",
            with_target(duckdb={"claim": "c", "accessMode": "ReadWriteMany"}),
            with_target(duckdb={"size": "1Gi", "accessMode": "ReadWriteMany"}),
        ),
    ],
    (E, "cidr is a range of addresses"): [
        (
            "spec.network.egress[0].to[0].ipBlock.cidr",
            with_peer(ipBlock={"cidr": "10.0.0.0/33"}),
            with_peer(ipBlock={"cidr": "10.0.0.0/8"}),
        ),
        (
            "spec.network.egress[0].to[0].ipBlock.cidr",
            with_peer(ipBlock={"cidr": "300.0.0.0/8"}),
            with_peer(ipBlock={"cidr": "2001:db8::/32"}),
        ),
    ],
    (E, "a peer is either ipBlock"): [
        ("spec.network.egress[0].to[0]", with_peer(), with_peer(podSelector={})),
        (
            "spec.network.egress[0].to[0]",
            with_peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={}),
            with_peer(namespaceSelector={}, podSelector={}),
        ),
    ],
    (E, "only a ServiceAccount has a namespace"): [
        (
            "spec.access[0].subjects[0].namespace",
            with_subject(namespace="ci"),
            with_subject(kind="ServiceAccount", namespace="ci"),
        ),
    ],
    (P, "a pipeline's name is a DNS label of at most 52 characters"): [
        ("<nil>", pipeline("p" * 53), pipeline("p" * 52)),
        ("<nil>", pipeline("p.q"), pipeline("p-q")),
    ],
    (P, "minimum is for the types Integer and Number"): [
        ("spec.parameters[0].minimum", with_parameter("Date", minimum=1), with_parameter("Integer", minimum=1)),
        ("spec.parameters[0].minimum", with_parameter(None, minimum="0.5"), with_parameter("Number", minimum="0.5")),
    ],
    (P, "maximum is for the types Integer and Number"): [
        ("spec.parameters[0].maximum", with_parameter("String", maximum=1), with_parameter("Number", maximum=1)),
        ("spec.parameters[0].maximum", with_parameter(None, maximum=1), with_parameter("Integer", maximum="16")),
    ],
    (P, "pattern is for the type String"): [
        ("spec.parameters[0].pattern", with_parameter("Integer", pattern="a"), with_parameter("String", pattern="a")),
        ("spec.parameters[0].pattern", with_parameter("Array", pattern="a"), with_parameter(None, pattern="a")),
    ],
    (P, "a step is either command and args, or script"): [
        ("spec.steps[0].script", pipeline(script="x", command=["x"]), pipeline(script="x")),
        ("spec.steps[0].script", pipeline(script="x", args=["x"]), pipeline(command=["x"], args=["x"])),
    ],
    (P, "a step needs a command, args, a script, or an image"): [
        ("spec.steps[0]", pipeline(image=None, command=None), pipeline(image="img", command=None)),
        ("spec.steps[0]", pipeline(image=None, command=None), pipeline(image=None, command=["x"])),
    ],
    (P, "a step is one of approval, wait, pipeline and resource"): [
        ("spec.steps[0]", jobless(approval={}, wait={"duration": "1s"}), jobless(approval={})),
        ("spec.steps[0]", jobless(approval={}, pipeline={"name": "o"}), jobless(pipeline={"name": "o"})),
    ],
    (P, "a step that is an approval, a wait, a pipeline or a resource has no container"): [
        ("spec.steps[0]", jobless(approval={}, image="i"), jobless(wait={"duration": "1s"})),
        ("spec.steps[0]", jobless(approval={}, forEach={"items": [1]}), jobless(approval={"message": "go?"})),
        ("spec.steps[0]", jobless(approval={}, cache={"maxAge": "1h"}), jobless(approval={})),
        (
            "spec.steps[0]",
            jobless(pipeline={"name": "o"}, env=[{"name": "A"}]),
            jobless(pipeline={"name": "o"}, retry={"limit": 1}, outputs=[{"name": "n"}]),
        ),
    ],
    (P, "the outputs of a resource are taken from its object"): [
        (
            "spec.steps[0].outputs",
            jobless(resource=RAY, outputs=[{"name": "n"}]),
            jobless(resource={**RAY, "outputs": [{"name": "n", "value": "object.status.n"}]}),
        ),
    ],
    (P, "an approval or a wait has no outputs, retry and startTimeout"): [
        ("spec.steps[0]", jobless(wait={"duration": "1s"}, retry={"limit": 1}), jobless(wait={"until": "2026-01-01"})),
        ("spec.steps[0]", jobless(approval={}, outputs=[{"name": "n"}]), jobless(approval={})),
    ],
    (P, "an approval has its own timeout"): [
        ("spec.steps[0].timeout", jobless(approval={}, timeout="1h"), jobless(approval={"timeout": "1h"})),
    ],
    (P, "nobody could decide"): [
        (
            "spec.steps[0].approval.approvers",
            jobless(approval={"approvers": {}}),
            jobless(approval={"approvers": {"groups": ["g"]}}),
        ),
    ],
    (P, "a wait is for a duration, until a time, or for a condition"): [
        ("spec.steps[0].wait", jobless(wait={}), jobless(wait={"condition": OF_A_JOB})),
        (
            "spec.steps[0].wait",
            jobless(wait={"duration": "1s", "until": "2026-01-01"}),
            jobless(wait={"until": "$(params.at)"}),
        ),
    ],
    (P, "a step cannot need itself"): [
        ("spec.steps[0].needs", pipeline(needs=["a"]), pipeline(needs=["b"])),
        ("spec.steps[0].needs", pipeline(needs=["b", "a"]), pipeline(needs=[])),
    ],
    (P, "a step cannot follow itself"): [
        (
            "spec.steps[0].after",
            pipeline(after=[{"step": "a", "on": "Failed"}]),
            pipeline(after=[{"step": "b", "on": "Failed"}]),
        ),
    ],
    (P, "a fan-out is not cached"): [
        (
            "spec.steps[0].cache",
            pipeline(cache={"maxAge": "1h"}, forEach={"items": [1]}),
            pipeline(cache={"maxAge": "1h", "inputs": ["$(params.day)"], "salt": "2"}),
        ),
    ],
    (P, "the name of an item cannot be"): [
        (
            "spec.steps[0].forEach.as",
            pipeline(forEach={"items": [1], "as": "params"}),
            pipeline(forEach={"items": [1], "as": "day"}),
        ),
    ],
    (P, "a workspace is either size"): [
        ("spec.workspace", with_workspace(size="1Gi", claim="mine"), with_workspace(size="1Gi")),
        ("spec.workspace", with_workspace(), with_workspace(claim="mine")),
    ],
    (P, "storageClass and accessMode belong to a new claim"): [
        (
            "spec.workspace.claim",
            with_workspace(claim="mine", storageClass="fast"),
            with_workspace(size="1Gi", storageClass="fast"),
        ),
        (
            "spec.workspace.claim",
            with_workspace(claim="mine", accessMode="ReadWriteMany"),
            with_workspace(size="1Gi", accessMode="ReadWriteMany"),
        ),
    ],
    (P, "a key is a template of params, env or run"): [
        ("spec.concurrency.key", with_concurrency(key="all"), with_concurrency(key="$(params.day)")),
        ("spec.concurrency.key", with_concurrency(key="$(steps.a.outputs.n)"), with_concurrency(key="x-$(env.name)")),
        ("spec.concurrency.key", with_concurrency(key="$(date)"), with_concurrency(key="$(run.logicalDate)")),
    ],
    (P, "image, command, args, script, outputs and workspace are the template's own"): [
        ("spec.steps[0].template", pipeline(image="i", command=None, template={"name": "t"}), templated()),
        ("spec.steps[0].template", pipeline(image=None, template={"name": "t"}), templated(timeout="1m")),
        ("spec.steps[0].template", templated(workspace="None"), templated(env=[{"name": "A"}])),
        ("spec.steps[0].template", templated(outputs=[{"name": "a"}]), templated(secrets=[{"name": "a", "as": "b"}])),
    ],
    (P, "with gives values to a template's parameters"): [
        ("spec.steps[0].with", a_pipeline("p").step("a", **WITH).build(), templated(**WITH)),
    ],
    (T, "a template is called <name>, or <name>-<version> where it has a version"): [
        ("<nil>", template("t.2"), template("t-2")),
        ("<nil>", template("t" * 64), template("t" * 63)),
        ("<nil>", template("t", version="2"), template("t-2", version="2")),
        ("<nil>", template("t-2.0", version="2"), template("t-2.0", version="2.0")),
        ("<nil>", template("t" * 64 + "-2", version="2"), template("t" * 63 + "-2", version="2")),
        ("<nil>", template("x.y-2", version="2"), template("x-y-2", version="2")),
    ],
    (T, "a template is either command and args, or script"): [
        ("spec.script", template(script="x", command=["x"]), template(script="x")),
        ("spec.script", template(script="x", args=["x"]), template(command=["x"], args=["x"])),
    ],
    (T, "a template needs a command, args, a script, or an image"): [
        ("spec", template(image=None), template()),
        ("spec", template(image=None, timeout="1m"), template(image=None, args=["x"])),
    ],
    (T, "minimum is for the types Integer and Number"): [
        ("spec.parameters[0].minimum", of_template("Date", minimum=1), of_template("Integer", minimum=1)),
    ],
    (T, "maximum is for the types Integer and Number"): [
        ("spec.parameters[0].maximum", of_template(None, maximum=1), of_template("Number", maximum=1)),
    ],
    (T, "pattern is for the type String"): [
        ("spec.parameters[0].pattern", of_template("Array", pattern="a"), of_template(None, pattern="a")),
    ],
    (R, "steps are named with mode Steps, and only then"): [
        ("spec.rerun.steps", run(rerun={"of": "a", "mode": "Steps"}), run(rerun={"of": "a", "mode": "All"})),
        (
            "spec.rerun.steps",
            run(rerun={"of": "a", "steps": ["x"]}),
            run(rerun={"of": "a", "mode": "Steps", "steps": ["x"]}),
        ),
    ],
    (R, "a run's name is a DNS label of at most 63 characters"): [
        ("<nil>", run("r" * 64), run("r" * 63)),
        ("<nil>", run("r.s"), run("r-s")),
    ],
}


def stays(field: str, value: str, other: str, **given: Any) -> list[tuple[str, Object, Object, Object]]:
    """What may not become another, come to be or go away."""
    one, two, none = (environment(**given, **more) for more in ({field: value}, {field: other}, {}))
    path = f"spec.{field}"
    return [(path, one, two, one), (path, none, one, none), (path, one, none, one)]


DATE, OTHER_DATE = "2013-02-09T00:00:00Z", "2013-02-10T00:00:00Z"
ONE, OTHER = [{"name": "day", "value": "x"}], [{"name": "night", "value": "x"}]
VERSIONED = template("t-2", version="2", image="a")
# What stands, what it may not become, what it may.
CHANGED: dict[tuple[str, str], list[tuple[str, Object, Object, Object]]] = {
    (T, "a template with a version cannot change"): [
        ("spec", VERSIONED, template("t-2", version="2", image="b"), VERSIONED),
        ("spec", VERSIONED, template("t-2"), VERSIONED),
        ("spec", VERSIONED, template("t-2", version="2", timeout="1m"), VERSIONED),
        (
            "spec",
            template("t-2", version="2", parameters=[{"name": "p", "default": "a"}]),
            template("t-2", version="2", parameters=[{"name": "p", "default": "b"}]),
            template("t-2", version="2", parameters=[{"name": "p", "default": "a"}]),
        ),
        ("spec", VERSIONED, template("t-2", version="2", script="x"), VERSIONED),
    ],
    (E, "namespace cannot change"): stays("namespace", "ns-a", "ns-b"),
    (E, "from cannot change"): stays("from", "prod", "staging"),
    (E, "branch cannot change"): stays("branch", "a", "b", from_="prod"),
    (E, "dataMode cannot change"): stays("dataMode", "Copy", "Empty", from_="prod"),
    (R, "a run's pipeline cannot change"): [("spec.pipeline", run(pipeline="a"), run(pipeline="b"), run(pipeline="a"))],
    (R, "a run's revision cannot change"): [
        ("spec.revision", run(revision="a-1"), run(revision="a-2"), run(revision="a-1")),
        ("spec.revision", run(), run(revision="a-1"), run()),
        ("spec.revision", run(revision="a-1"), run(), run(revision="a-1")),
    ],
    (R, "a run's logicalDate cannot change"): [
        ("spec.logicalDate", run(logicalDate=DATE), run(logicalDate=OTHER_DATE), run(logicalDate=DATE)),
        ("spec.logicalDate", run(), run(logicalDate=DATE), run()),
        ("spec.logicalDate", run(logicalDate=DATE), run(), run(logicalDate=DATE)),
    ],
    (R, "a run's priority cannot change"): [
        ("spec.priority", run(priority="Low"), run(priority="High"), run(priority="Low")),
        ("spec.priority", run(), run(priority="Normal"), run()),
        ("spec.priority", run(priority="High"), run(), run(priority="High")),
    ],
    (R, "which run is done again cannot change"): [
        ("spec.rerun", run(rerun={"of": "a"}), run(rerun={"of": "b"}), run(rerun={"of": "a"})),
        ("spec.rerun", run(), run(rerun={"of": "a"}), run()),
    ],
    (R, "what a run does with cached outputs cannot change"): [
        ("spec.cache", run(cache="Use"), run(cache="Refresh"), run(cache="Use")),
        ("spec.cache", run(), run(cache="Use"), run()),
        ("spec.cache", run(cache="Refresh"), run(), run(cache="Refresh")),
    ],
    (R, "a cancelled run cannot go on"): [
        ("spec.cancel", run(cancel="Graceful"), run(), run(cancel="Immediate")),
        ("spec.cancel", run(cancel="Immediate"), run(cancel="Graceful"), run(cancel="Immediate")),
    ],
    (R, "a run's parameters cannot change"): [
        ("spec.parameters", run(parameters=ONE), run(parameters=OTHER), run(parameters=ONE)),
        ("spec.parameters", run(), run(parameters=ONE), run()),
        ("spec.parameters", run(parameters=ONE), run(), run(parameters=ONE)),
        ("spec.parameters", run(parameters=ONE), run(parameters=ONE + OTHER), run(parameters=ONE)),
    ],
}


def rules_of(node: Any) -> Iterator[Object]:
    """Every CEL rule within a schema."""
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
        for child in node.values():
            yield from rules_of(child)


def written_rules() -> set[tuple[str, str]]:
    """Kind and message of every rule in the committed CRDs."""
    found = set()
    for file in (ROOT / "crds").glob(f"{GROUP}_*.yaml"):
        crd = yaml.safe_load(file.read_text(encoding="utf-8"))
        schemas = [version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"]]
        found |= {(crd["spec"]["names"]["kind"], rule["message"]) for schema in schemas for rule in rules_of(schema)}
    return found


def test_every_rule_of_the_schemas_has_its_cases() -> None:
    cases = [*CREATED, *CHANGED]
    covered = {
        rule: [(kind, message) for kind, message in cases if kind == rule[0] and rule[1].startswith(message)]
        for rule in written_rules()
    }
    assert covered, "the CRDs hold rules"
    assert not [rule for rule, found in covered.items() if len(found) != 1], "rules without a case, or with two"
    assert len(cases) == len(covered), "cases of rules that are no longer there"


@pytest.mark.parametrize(
    ("message", "path", "wrong", "right"),
    [(message, *case) for (_, message), cases in CREATED.items() for case in cases],
)
async def test_a_rule_refuses_what_it_says_and_takes_the_mended(
    api: Api, message: str, path: str, wrong: Object, right: Object
) -> None:
    told = await refusal(api, wrong)
    assert message in told
    assert f"{path}: Invalid value" in told, "the path leads to the place"
    assert await refusal(api, right) == ""


@pytest.mark.parametrize(
    ("message", "path", "old", "wrong", "right"),
    [(message, *case) for (_, message), cases in CHANGED.items() for case in cases],
)
async def test_what_is_fixed_cannot_become_another(
    api: Api, message: str, path: str, old: Object, wrong: Object, right: Object
) -> None:
    told = await refusal(api, wrong, old)
    assert message in told
    assert f"{path}: Invalid value" in told, "the path leads to the place"
    labelled = right | {"metadata": {**right["metadata"], "labels": {"team": "data"}}}
    assert await refusal(api, labelled, old) == ""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(
            a_pipeline("p").step("a").step("a").build(), 'spec.steps[1]: Duplicate value: {"name":"a"}', id="steps"
        ),
        pytest.param(
            a_pipeline("p").step("a").parameter("x").parameter("x").build(),
            'spec.parameters[1]: Duplicate value: {"name":"x"}',
            id="parameters",
        ),
        pytest.param(pipeline(needs=["b", "b"]), 'spec.steps[0].needs[1]: Duplicate value: "b"', id="needs"),
        pytest.param(
            pipeline(outputs=[{"name": "n"}, {"name": "n"}]), "spec.steps[0].outputs[1]: Duplicate value", id="outputs"
        ),
        pytest.param(
            environment(targets=[{"name": "t", "postgres": PG}, {"name": "t", "s3": S3}]),
            "spec.targets[1]: Duplicate value",
            id="targets",
        ),
        pytest.param(environment(parameters=ONE + ONE), "spec.parameters[1]: Duplicate value", id="values"),
        pytest.param(run(parameters=ONE + ONE), "spec.parameters[1]: Duplicate value", id="a run's parameters"),
    ],
)
async def test_the_same_name_twice_is_refused(api: Api, body: Object, told: str) -> None:
    assert told in await refusal(api, body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(pipeline(timeout="1.5h"), "spec.steps[0].timeout", id="a duration with a fraction"),
        pytest.param(pipeline("p") | {"spec": {"steps": []}}, "spec.steps", id="no steps"),
        pytest.param(a_pipeline("p").step("A").build(), "spec.steps[0].name", id="a step's name in capitals"),
        pytest.param(a_pipeline("p").step("a").parameter("a-b").build(), "spec.parameters[0].name", id="a dash"),
        pytest.param(with_parameter("Text"), "spec.parameters[0].type: Unsupported value", id="an unknown type"),
        pytest.param(pipeline(retry={"limit": 21}), "spec.steps[0].retry.limit", id="too many attempts"),
        pytest.param(pipeline(retry={"on": ["Bad"]}), "spec.steps[0].retry.on[0]", id="an unknown failure class"),
        pytest.param(run(logicalDate="yesterday"), "spec.logicalDate", id="a time that is none"),
        pytest.param(environment(ttl="1w"), "spec.ttl", id="a time to live in weeks"),
        pytest.param(
            environment(dataMode="Sample", from_="prod"), "spec.dataMode: Unsupported value", id="a data mode"
        ),
        pytest.param(environment(quota={"runs": 0}), "spec.quota.runs", id="a quota of no run"),
        pytest.param(with_secret(path="https://evil.example/v1/kv"), "spec.secrets[0].vault.path", id="an address"),
        pytest.param(with_target(s3={"endpoint": "ftp://x", "bucket": "lake"}), "endpoint", id="another protocol"),
        pytest.param(with_target(s3={**S3, "prefix": "../other/"}), "prefix", id="a prefix that escapes"),
        pytest.param(run(pipeline="A"), "spec.pipeline", id="a pipeline's name in capitals"),
        pytest.param(pipeline(podTemplate={"volumes": [{"name": "a" * 41, "emptyDir": {}}]}), "name", id="a long name"),
        pytest.param(
            pipeline(podTemplate={"volumeMounts": [{"name": "a", "mountPath": "/a/../b"}]}), "mountPath", id="a way out"
        ),
        pytest.param(
            pipeline(podTemplate={"volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "../b"}]}),
            "subPath",
            id="a way out of a volume",
        ),
        pytest.param(template("t-A", version="A"), "spec.version", id="a version in capitals"),
    ],
)
async def test_what_the_schema_bounds_is_refused_with_its_path(api: Api, body: Object, told: str) -> None:
    assert told in await refusal(api, body)


async def test_everything_at_its_upper_bound_is_taken(api: Api) -> None:
    body = a_pipeline("p")
    for index in range(1000):
        before = [f"s{other}" for other in range(max(index - 6, 0), index)]
        after = [{"step": name, "on": "Completed"} for name in before[:3]]
        body.step(f"s{index}", needs=before[3:], after=after, when="params.p0 > 3 && run.name != 'x'")
    for index in range(64):
        body.parameter(f"p{index}", "Integer", minimum=0, maximum="9", default=index % 10)
    assert await refusal(api, body.build()) == "", "a thousand steps are within CEL's cost"
    assert await refusal(api, body.step("one-more").build()) != ""


async def test_a_template_at_its_upper_bound_is_taken_and_its_version_still_cannot_change(api: Api) -> None:
    parameters = [{"name": f"p{index}", "enum": ["v" * 9] * 64, "default": "d" * 999} for index in range(64)]
    env = [{"name": f"E{index}", "value": "v" * 999} for index in range(128)]
    large = template("t-2", version="2", script="s" * 65536, parameters=parameters, env=env)
    assert await refusal(api, large) == ""
    other = template("t-2", version="2", script="s" * 65535 + "t", parameters=parameters, env=env)
    assert "cannot change" in await refusal(api, other, large)


async def test_pod_templates_at_their_upper_bound_are_within_cels_cost(api: Api) -> None:
    requirement = {"key": "k", "operator": "In", "values": ["v"] * 32}
    volumes: list[Object] = [{"name": f"v{index}", "configMap": {"name": "c"}} for index in range(8)]
    mounts = [{"name": "v0", "mountPath": f"/m{index}"} for index in range(16)]
    terms = [{"matchExpressions": [requirement] * 8}] * 8
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    large: Object = {"volumes": volumes, "volumeMounts": mounts, "affinity": affinity}
    small: Object = {"volumes": volumes, "volumeMounts": mounts}
    body = a_pipeline("p").having(defaults={"podTemplate": large})
    for index in range(600):
        body.step(f"s{index}", podTemplate=small)
    assert await refusal(api, body.build()) == ""


async def test_an_environment_at_its_upper_bound_is_taken(api: Api) -> None:
    credentials: Object = {"vault": {"path": "p" * 512, "data": [{"name": f"n{i}", "value": "v"} for i in range(32)]}}
    s3 = {**S3, "credentials": credentials, "readCredentials": credentials, "branchCredentials": credentials}
    peers: list[Object] = [{"namespaceSelector": {"matchLabels": {"a": str(i)}}, "podSelector": {}} for i in range(15)]
    peers.append({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] * 16}})
    body = environment(
        targets=[{"name": f"t{i}", "s3": s3} for i in range(32)],
        network={"egress": [{"to": peers, "ports": [{"port": 443}]}] * 32},
        access=[{"role": "View", "subjects": [{"kind": "User", "name": f"u{i}"} for i in range(64)]}] * 8,
    )
    assert await refusal(api, body) == "", "within CEL's cost"
    body["spec"]["targets"].append({"name": "one-more", "s3": s3})
    assert await refusal(api, body) != ""


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(PIPELINES, pipeline(retries=3), id="Pipeline"),
        pytest.param(RUNS, run(urgency="High"), id="PipelineRun"),
        pytest.param(TEMPLATES, template(needs=["a"]), id="StepTemplate"),
        pytest.param(ENVIRONMENTS, environment(vault={"role": "r", "address": "https://v.example"}), id="Environment"),
    ],
)
async def test_an_unknown_field_is_refused_where_it_is_written(api: Api, kind: Kind, body: Object) -> None:
    with pytest.raises(ApiError, match="unknown field") as caught:
        await api.request("POST", kind.path(NAMESPACE), body, STRICT)
    assert caught.value.status == 400


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    body = run("apart") | {"status": {"phase": "Succeeded"}}
    made = await api.create(RUNS, NAMESPACE, body | {"metadata": {"name": "apart"}})
    assert made["status"] == {"observedGeneration": -1}, "a fresh object looks new, whatever its author says"
    await api.patch(RUNS, NAMESPACE, "apart", {"status": {"phase": "Failed"}, "metadata": {"labels": {"a": "b"}}})
    after = await api.patch(
        RUNS, NAMESPACE, "apart", {"spec": {"pipeline": "other"}, "status": {"phase": "Running"}}, "status"
    )
    assert (after["status"]["phase"], after["spec"]["pipeline"]) == ("Running", "flights")
    assert after["metadata"]["generation"] == made["metadata"]["generation"], "status is no change of the definition"
    await api.delete(RUNS, NAMESPACE, "apart")


async def test_an_empty_parameter_value_and_any_json_survive_the_way(api: Api) -> None:
    values = [0, False, "", [], {}, [None, {"a": None}], {"x-y": {"deep": [1, "2"]}}]
    parameters = [{"name": f"p{index}", "value": value} for index, value in enumerate(values)]
    made = await api.create(RUNS, NAMESPACE, run(parameters=parameters) | {"metadata": {"name": "json"}})
    assert made["spec"]["parameters"] == parameters
    await api.delete(RUNS, NAMESPACE, "json")


# As a person sees it.


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("pipeline.spec.steps", ["What is done.", "needs", "Steps that must have succeeded before", "-required-"]),
        ("pipeline.spec.parameters", ["Typed inputs of a run", "Least value of an Integer or Number"]),
        ("pipeline.spec.steps.retry.backoff", ["Wait before the second attempt"]),
        ("pipelinerun.status.steps", ["Where each step stands, in the pipeline's order.", "When the attempt ended"]),
        ("denv.spec", ["How long after its creation the environment deletes itself", "Where data lives"]),
        ("environment.spec.quota", ["Runs under way at once; more wait"]),
        ("dst.spec", ["Version that this object is", "Typed inputs; a pipeline's step gives their values in `with`."]),
        ("drun.spec", ["Name of the Pipeline: in the project namespace of the environment"]),
    ],
)
def test_kubectl_explain_reads_like_documentation(kubectl: Kubectl, path: str, words: list[str]) -> None:
    text = " ".join(kubectl("explain", path).split())
    assert not [word for word in words if word not in text], text


def test_kubectl_get_prints_what_a_person_looks_for(kubectl: Kubectl) -> None:
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(a_pipeline("flights", NAMESPACE).step("a").build()))
    for name, other in (("one", "flights"), ("two", "other")):
        kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(a_run(name, other, NAMESPACE).build()))
    status = {"status": {"phase": "Running", "progress": "1/2"}}
    kubectl("patch", "drun", "one", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    assert header(kubectl("get", "dpl", "-n", NAMESPACE)) == ["NAME", "READY", "REVISION", "STEPS", "LAST RUN", "AGE"]
    wide = header(kubectl("get", "dpl", "-n", NAMESPACE, "-o", "wide"))
    assert wide[-2:] == ["OWNER", "MESSAGE"]
    runs = kubectl("get", "drun", "-n", NAMESPACE)
    assert header(runs) == ["NAME", "PIPELINE", "PHASE", "STEPS", "REASON", "AGE"]
    assert "Running" in runs
    wide = header(kubectl("get", "drun", "-n", NAMESPACE, "-o", "wide"))
    assert wide[-6:] == ["REVISION", "ENVIRONMENT", "REQUESTED BY", "PRIORITY", "LOGICAL DATE", "MESSAGE"]
    kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(environment("prod", ttl="72h")))
    environments = kubectl("get", "denv", "-n", NAMESPACE, "-o", "wide")
    assert header(environments) == ["NAME", "READY", "NAMESPACE", "RUNS", "FROM", "AGE", "EXPIRES", "MESSAGE"]
    kubectl("delete", "denv", "prod", "-n", NAMESPACE)

    listed = kubectl("get", "dataops", "-n", NAMESPACE, "-o", "name").split()
    assert sorted(listed) == [f"pipeline.{GROUP}/flights", f"pipelinerun.{GROUP}/one", f"pipelinerun.{GROUP}/two"]
    for selector in ("spec.pipeline=flights", "status.phase=Running", "spec.pipeline=flights,status.phase=Running"):
        found = kubectl("get", "drun", "-n", NAMESPACE, "--field-selector", selector, "-o", "name").split()
        assert found == [f"pipelinerun.{GROUP}/one"], selector


def header(table: str) -> list[str]:
    """The column names of a table; columns stand apart by two blanks or more."""
    return [part.strip() for part in table.splitlines()[0].split("  ") if part.strip()]


@pytest.mark.parametrize("folder", ["crds", "examples/flights-daily"])
def test_a_folder_of_ours_is_taken_as_it_is(kubectl: Kubectl, folder: str) -> None:
    told = kubectl(
        "apply", "-k", str(ROOT / folder), "-n", NAMESPACE if folder != "crds" else "default", "--dry-run=server"
    )
    assert told.count("(server dry run)") >= 2


def test_the_pipelines_we_show_are_taken_by_a_plain_apply(kubectl: Kubectl, tmp_path: Path) -> None:
    """`kubectl apply -f` reads YAML 1.1, where a bare `on` is true; -k reads another YAML."""
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown
    files = [ROOT / "examples/flights-daily" / name for name in ("pipeline.yaml", "run.yaml", "run-bad-day.yaml")]
    for number, text in enumerate(shown):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text.replace("namespace: analytics", f"namespace: {NAMESPACE}"))
    for file in files:
        told = kubectl("apply", "-f", str(file), "-n", NAMESPACE, "--dry-run=server")
        assert "created (server dry run)" in told


async def test_the_crds_say_that_they_are_sound(api: Api) -> None:
    for kind in KINDS:
        crd = await api.get(CRDS, None, f"{kind.plural}.{GROUP}")
        conditions = {one["type"]: one["status"] for one in crd["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"
    assert await api.find(NAMESPACES, None, NAMESPACE)
