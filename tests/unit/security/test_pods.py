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
from dataops_operator.core.jobs import build_claim, build_job
from dataops_operator.core.validate import parse

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
    ],
}
ENVIRONMENT: Object = {
    "parameters": [{"name": "bucket", "value": "lake"}],
    "targets": [{"name": "scratch", "volume": {"size": "1Gi"}}],
    "podDefaults": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "data", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
    },
}
EVIL_TEXT = st.sampled_from(
    ["", "../..", "$(params.p)", "a\nb: c", "*", "kube-system/admin", "true", "0", "'; rm -rf /;'", "\x00", "{}"]
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every object in a tree, those aside whose keys are the user's own words."""
    if isinstance(tree, dict):
        if path[-1:] not in (("requests",), ("limits",), ("nodeSelector",)):
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


def pods(pipeline: Object, environment: Object) -> list[Object]:
    """The pods of every step; none where the definition is refused."""
    spec, problems = parse(pipeline)
    if spec is None or problems:
        return []
    meta = {"name": "prod", "namespace": "team", "uid": "u", "creationTimestamp": "2026-01-05T06:00:00Z"}
    held, _ = effective({"metadata": meta, "spec": environment | {"namespace": "team-prod"}}, None)
    built = PipelineBuilder()
    built.raw = pipeline
    inputs = replace(a_run(namespace="team-prod").inputs(built), environment=held)
    return [
        build_job(inputs, (step,), 1, {})["spec"]["template"]["spec"] for step in inputs.revision.spec.steps
    ]  # fmt: skip


def check(pod: Object) -> None:
    assert list(breaches(pod)) == []
    assert pod["serviceAccountName"] == RUNNER
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for volume in pod["volumes"]:
        assert volume.keys() - {"name"} <= {"emptyDir", "downwardAPI", "persistentVolumeClaim", "secret", "projected"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert all(one.keys() == {"name", "value"} for one in container["env"]), "no variable from elsewhere"
        for mount in container["volumeMounts"]:
            assert re.fullmatch(r"/tmp|/dataops/[a-z./-]+", mount["mountPath"]), mount
            assert ".." not in mount["mountPath"]


@given(poisoned(PIPELINE), st.just(ENVIRONMENT) | poisoned(ENVIRONMENT))
def test_a_delicate_field_at_any_depth_of_a_definition_changes_no_pod(pipeline: Object, environment: Object) -> None:
    plain = pods(PIPELINE, ENVIRONMENT)
    assert len(plain) == 2
    try:
        made = pods(pipeline, environment)
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
    (pod, _) = pods(PIPELINE, ENVIRONMENT)
    assert said in list(breaches(pod | change))
