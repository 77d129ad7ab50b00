"""No field of a user leads out of the allow-list (security checks 1 to 3): the pod that comes of it is restricted."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.builders import RUNNER, PipelineBuilder, a_pipeline, a_run
from tests.harness.podsecurity import breaches

from dataops_operator.core.environment import effective
from dataops_operator.core.fit import unfit
from dataops_operator.core.jobs import build_claim, build_job

Object = dict[str, Any]

DELICATE: dict[str, Any] = {
    "serviceAccountName": "admin",
    "serviceAccount": "admin",
    "automountServiceAccountToken": True,
    "hostNetwork": True,
    "hostPID": True,
    "hostUsers": False,
    "nodeName": "control-plane",
    "priorityClassName": "system-node-critical",
    "runtimeClassName": "none",
    "shareProcessNamespace": True,
    "securityContext": {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}},
    "privileged": True,
    "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
    "volumeMounts": [{"name": "tmp", "mountPath": "/etc"}],
    "envFrom": [{"secretRef": {"name": "other"}}],
    "valueFrom": {"secretKeyRef": {"name": "other", "key": "password"}},
    "ports": [{"hostPort": 80, "containerPort": 80}],
    "lifecycle": {"postStart": {"exec": {"command": ["sh"]}}},
    "podTemplate": {"spec": {"hostNetwork": True}},
    "podSpecPatch": '{"hostNetwork": true}',
    "namespace": "kube-system",
}
"""What users of other engines found their way out with (CVE-2026-31892, CVE-2026-42296, CVE-2026-54526)."""

PIPELINE: Object = {
    "parameters": [{"name": "p", "type": "String", "default": "x"}],
    "defaults": {"image": "registry.example/a:1", "resources": {"requests": {"cpu": "1"}}, "retry": {"limit": 1}},
    "workspace": {"size": "1Gi"},
    "steps": [
        {"name": "a", "command": ["do", "$(params.p)"], "env": [{"name": "KEY", "value": "$(params.p)"}]},
        {"name": "b", "script": "#!/bin/sh\ntrue", "needs": ["a"], "resources": {"limits": {"memory": "1Gi"}}},
        {
            "name": "c",
            "template": {"name": "t"},
            "with": [{"name": "q", "value": {"deep": ["$(params.p)"]}}],
            "podTemplate": {
                "labels": {"team": "data"},
                "annotations": {"ticket": "DATA-7"},
                "nodeSelector": {"disk": "ssd", "kubernetes.io/os": "windows"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
                        ]
                    }
                },
                "priorityClassName": "batch",
                "volumes": [
                    {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                    {"name": "config", "configMap": {"name": "settings", "items": [{"key": "a", "path": "b"}]}},
                    {"name": "lake", "claim": {"name": "lake", "readOnly": True}},
                ],
                "volumeMounts": [
                    {"name": "cache", "mountPath": "/cache"},
                    {"name": "config", "mountPath": "/etc/app", "readOnly": True},
                    {"name": "lake", "mountPath": "/lake", "subPath": "a/b"},
                ],
            },
        },
    ],
}
TEMPLATE: Object = {
    "parameters": [{"name": "q", "type": "Object"}],
    "image": "registry.example/b:$(params.q.deep.0)",
    "command": ["do", "$(params.q)"],
    "env": [{"name": "KEY", "value": "$(params.q.deep)"}],
    "podTemplate": {"volumes": [], "labels": {"team": "other"}},
}
ENVIRONMENT: Object = {
    "parameters": [{"name": "bucket", "value": "lake"}],
    "targets": [{"name": "scratch", "volume": {"size": "1Gi"}}],
    "podPolicy": {"labels": ["team"], "taints": ["gpu"], "priorityClasses": ["batch"]},
    "podDefaults": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "data", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
    },
}
EVIL_TEXT = st.sampled_from(
    ["", "../..", "$(params.p)", "a\nb: c", "*", "kube-system/admin", "true", "0", "'; rm -rf /;'", "\x00", "{}"]
)


FREE = ("requests", "limits", "nodeSelector", "labels", "annotations", "matchLabels", "value")


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every object in a tree, those aside whose keys are the user's own words."""
    if isinstance(tree, dict):
        if not path or path[-1] not in FREE:
            yield path
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from places(value, (*path, index))


def poisoned(tree: Object) -> st.SearchStrategy[Object]:
    """The tree with delicate fields in some of its objects, at any depth."""

    def put(chosen: list[tuple[tuple[Any, ...], str, Any]]) -> Object:
        out = copy.deepcopy(tree)
        for path, key, text in chosen:
            here: Any = out
            for one in path:
                here = here[one]
            here[key] = DELICATE[key] if text is None else text
        return out

    keys = st.sampled_from(sorted(DELICATE))
    one = st.tuples(st.sampled_from(list(places(tree))), keys, st.none() | EVIL_TEXT)
    return st.lists(one, min_size=1, max_size=6).map(put)


def pods(pipeline: Object, environment: Object, template: Object | None = None) -> list[Object]:
    """The pods of every step; none where the definition, or a run of it there, is refused."""
    built = PipelineBuilder().template("t", **(TEMPLATE if template is None else template))
    built.raw = pipeline
    if built.compiled().problems:
        return []
    meta = {"name": "prod", "namespace": "team", "uid": "u", "creationTimestamp": "2026-01-05T06:00:00Z"}
    held, _ = effective({"metadata": meta, "spec": environment | {"namespace": "team-prod"}}, None)
    inputs = replace(a_run(namespace="team-prod").inputs(built), environment=held)
    if unfit(inputs):
        return []
    return [build_job(inputs, (step,), 1, {})["spec"]["template"]["spec"] for step in inputs.revision.spec.steps]


def check(pod: Object) -> None:
    assert list(breaches(pod)) == []
    assert pod["serviceAccountName"] == RUNNER
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for volume in pod["volumes"]:
        kinds = {"emptyDir", "downwardAPI", "persistentVolumeClaim", "secret", "projected"}
        theirs = {"emptyDir", "configMap", "persistentVolumeClaim"}
        assert volume.keys() - {"name"} <= (theirs if volume["name"].startswith("extra-") else kinds)
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert all(one.keys() == {"name", "value"} for one in container["env"]), "no variable from elsewhere"
        for mount in container["volumeMounts"]:
            ours = re.fullmatch(r"/tmp|/dataops/[a-z./-]+", mount["mountPath"]) is not None
            assert ours is not mount["name"].startswith("extra-"), mount
            assert ".." not in mount["mountPath"]
            assert not re.match(r"/(proc|sys|dev)(/|$)", mount["mountPath"])
    assert not pod.get("priorityClassName", "").startswith("system-")


@given(poisoned(PIPELINE), st.just(ENVIRONMENT) | poisoned(ENVIRONMENT), st.just(TEMPLATE) | poisoned(TEMPLATE))
def test_a_delicate_field_at_any_depth_of_a_definition_changes_no_pod(
    pipeline: Object, environment: Object, template: Object
) -> None:
    plain = pods(PIPELINE, ENVIRONMENT)
    assert len(plain) == 3
    assert plain[2]["nodeSelector"] == {"disk": "ssd", "kubernetes.io/os": "linux"}, "the environment's word counts"
    try:
        made = pods(pipeline, environment, template)
    except ValidationError:
        return  # an Environment that has not even the shape makes nothing
    for pod in made:
        check(pod)
        assert pod in plain


# A NUL is refused before there is a pod (test_parameters).
@given((st.text() | EVIL_TEXT).filter(lambda value: "\0" not in value))
def test_a_value_changes_neither_the_structure_of_a_pod_nor_the_number_of_its_arguments(value: str) -> None:
    """Security check 15: whatever a parameter holds, it is one argument and one variable."""
    pipeline = a_pipeline().parameter("p").step(
        "a", command=["do", "--day=$(params.p)", "$(params.p)"], env=[{"name": "KEY", "value": "<$(params.p)>"}]
    )  # fmt: skip
    shapes = []
    for given_value in ("x", value):
        run = a_run().parameter("p", given_value)
        inputs = run.inputs(pipeline)
        pod = build_job(inputs, (inputs.revision.spec.steps[0],), 1, {})["spec"]["template"]["spec"]
        check(pod)
        (container,) = pod["containers"]
        assert len(container["command"]) == 3
        container["command"] = container["env"] = None
        shapes.append(pod)
    assert shapes[0] == shapes[1]


def test_a_claim_is_of_the_runs_own_namespace() -> None:
    run = a_run(namespace="team-prod")
    workspace = a_pipeline().step("a").having(workspace={"size": "1Gi"}).spec().workspace
    assert workspace is not None
    assert build_claim(run.identity(), workspace)["metadata"]["namespace"] == "team-prod"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostNetwork": True}, "hostNetwork: not a field of our pods"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "volumes[0]: hostPath is not allowed"),
        ({"securityContext": {}}, "securityContext.seccompProfile: neither RuntimeDefault nor Localhost"),
        ({"containers": [{"name": "a"}]}, "containers[0].securityContext.capabilities: not all dropped"),
    ],
)
def test_a_pod_that_is_not_restricted_would_be_found(change: Object, said: str) -> None:
    (pod, *_) = pods(PIPELINE, ENVIRONMENT)
    assert said in list(breaches(pod | change))


KEYS = st.sampled_from(
    ["team", "a.b", "dataops.dev/run-uid", "x.kubernetes.io/y", "k8s.v1.cni.cncf.io/networks", "iam.amazonaws.com/role",
     "io.kubernetes.cri-o.userns-mode", "job-name", "sidecar.istio.io/inject", "app", "/", "a/", "é", ""]
)  # fmt: skip
# fmt: off
PLACES = (
    "/", "/etc", "/tmp", "/tmp/x", "/dataops", "/dataops/secrets", "/proc/1", "/dev/shm", "/a/../b", "/a/./b", "/.a",
     "a", "//a", "/a/", "/sys", "/dataops2", "/a:b", "/var/run/secrets/kubernetes.io/serviceaccount",
)
VOLUMES: tuple[Object, ...] = (
    {"emptyDir": {}}, {"emptyDir": {"medium": "Memory"}}, {"emptyDir": {"sizeLimit": "1Gi"}}, {"claim": {"name": "c"}},
     {"hostPath": {"path": "/"}}, {"secret": {"secretName": "s"}}, {"csi": {"driver": "d"}}, {"projected": {}},
     {"claim": {"name": "../c"}}, {"configMap": {"name": "c", "items": [{"key": "a", "path": "../b"}]}},
     {"configMap": {"name": "c"}}, {"emptyDir": {}, "claim": {"name": "c"}},
)
# fmt: on
PATHS, KINDS = st.sampled_from(PLACES), st.sampled_from(VOLUMES)
TAINTS = st.sampled_from([{}, {"key": "gpu"}, {"key": "node-role.kubernetes.io/control-plane"}])
CLASSES = st.sampled_from(["system-node-critical", "batch", "other"])


@given(
    st.dictionaries(KEYS, EVIL_TEXT, max_size=2),
    st.dictionaries(KEYS, EVIL_TEXT, max_size=2),
    st.lists(KINDS, min_size=1, max_size=2),
    st.lists(PATHS, max_size=2),
    st.none() | CLASSES,
    st.lists(TAINTS, max_size=2),
)
def test_whatever_stands_in_a_pod_template_the_pod_stays_within_the_sandbox(
    labels: Object, notes: Object, kinds: list[Object], paths: list[str], priority: str | None, taints: list[Object]
) -> None:
    """Security checks 2 and 3: what is not refused is harmless, and what was not offered is refused."""
    asked: Object = {
        "labels": labels,
        "annotations": notes,
        "volumes": [{"name": f"v{number}", **kind} for number, kind in enumerate(kinds)],
        "volumeMounts": [{"name": "v0", "mountPath": path} for path in paths],
        "priorityClassName": priority,
        "tolerations": taints,
    }
    step = {"name": "a", "image": "i", "podTemplate": {key: value for key, value in asked.items() if value}}
    made = pods({"steps": [step]}, ENVIRONMENT)
    for pod in made:
        check(pod)
        assert pod.get("priorityClassName", "batch") == "batch"
        assert {one["key"] for one in pod["tolerations"]} <= {"data", "gpu"}
        assert set(labels) <= {"team"}, "of labels what the environment lists"
        assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) for key in notes), "of annotations what nobody acts on"
    if made and (labels or priority or taints):
        assert pods({"steps": [step]}, {}) == [], "an environment that lists nothing allows nothing of it"


def test_each_kind_of_volume_at_each_place_is_refused_or_harmless() -> None:
    taken = set()
    for kind in VOLUMES:
        for place in PLACES:
            asked = {"volumes": [{"name": "v", **kind}], "volumeMounts": [{"name": "v", "mountPath": place}]}
            for pod in pods({"steps": [{"name": "a", "image": "i", "podTemplate": asked}]}, ENVIRONMENT):
                check(pod)
                taken.add((next(iter(kind)), place))
    assert {kind for kind, _ in taken} == {"emptyDir", "configMap", "claim"}
    assert {place for _, place in taken} == {
        "/etc", "/tmp/x", "/.a", "/dataops2", "/var/run/secrets/kubernetes.io/serviceaccount"
    }  # fmt: skip


def test_a_label_of_a_user_never_takes_the_place_of_one_of_ours() -> None:
    built = PipelineBuilder().template("t", **TEMPLATE)
    built.raw = PIPELINE
    inputs = a_run().inputs(built)
    meta = build_job(inputs, (inputs.revision.spec.steps[2],), 1, {})["spec"]["template"]["metadata"]
    assert meta["labels"] == meta["labels"] | {"team": "data", "dataops.dev/step": "c"}
    assert meta["annotations"]["ticket"] == "DATA-7"
