"""One case for every rule of the schemas: what it refuses and where, and the nearest thing that it takes."""

from collections.abc import Callable
from typing import Any

from tests.builders import a_pipeline
from tests.integration.crdobjects import (
    OF_A_JOB,
    PG,
    RAY,
    S3,
    SEALED,
    WITH,
    E,
    Object,
    P,
    R,
    T,
    environment,
    jobless,
    of_template,
    pipeline,
    run,
    template,
    templated,
    with_concurrency,
    with_credentials,
    with_parameter,
    with_peer,
    with_secret,
    with_subject,
    with_target,
    with_workspace,
)


def of_exit_codes(kind: str, path: str, make: Callable[..., Object]) -> dict[tuple[str, str], list[Any]]:
    """The rules on exit codes: they hold in pipelines and in step templates."""
    codes: Object = {"retry": [75], "never": [2]}
    return {
        (kind, "an exit code is either worth another attempt or never"): [
            (
                f"{path}.exitCodes.never",
                make(retry={"limit": 1, "exitCodes": {"retry": [75, 2], "never": [1, 2]}}),
                make(retry={"limit": 1, "exitCodes": codes}),
            ),
        ],
        (kind, "exit codes are of the class Failure, which is not tried again"): [
            (
                f"{path}.exitCodes",
                make(retry={"limit": 1, "on": ["Infrastructure", "Deadline"], "exitCodes": codes}),
                make(retry={"limit": 1, "on": ["Failure"], "exitCodes": codes}),
            ),
        ],
        (kind, "no attempt follows a Failure where limit is 0"): [
            (f"{path}.exitCodes", make(retry={"exitCodes": codes}), make(retry={"limit": 1, "exitCodes": codes})),
            (
                f"{path}.exitCodes",
                make(retry={"limit": 0, "exitCodes": codes}),
                make(retry={"limit": 0, "on": ["Failure"]}),
            ),
        ],
    }


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
    **of_exit_codes(P, "spec.steps[0].retry", pipeline),
    **of_exit_codes(T, "spec.retry", template),
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
