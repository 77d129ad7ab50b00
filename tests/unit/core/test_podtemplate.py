"""podTemplate: what is refused and why, what the environment has to offer, and what comes of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import PipelineBuilder, a_pipeline, a_run, an_environment

from dataops_operator.core.environment import Effective
from dataops_operator.core.fit import unfit
from dataops_operator.core.jobs import build_job
from dataops_operator.core.podplacement import claims

Object = dict[str, Any]

CACHE: Object = {"name": "cache", "emptyDir": {}}


def asking(**fields: Any) -> PipelineBuilder:
    return a_pipeline().step("a", podTemplate=fields)


def pod_of(pipeline: PipelineBuilder, environment: Effective | None = None, step: int = 0) -> Object:
    inputs = a_run().inputs(pipeline, environment)
    assert unfit(inputs) == []
    template: Object = build_job(inputs, (inputs.revision.spec.steps[step],), 1, {})["spec"]["template"]
    return {**template["spec"], "metadata": template["metadata"]}


def mounted(place: str, **volume: Any) -> PipelineBuilder:
    return asking(volumes=[CACHE | volume], volumeMounts=[{"name": "cache", "mountPath": place}])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (asking(labels={"dataops.dev/run-uid": "x"}), "labels[dataops.dev/run-uid]: keys of dataops.dev"),
        (asking(labels={"job-name": "x"}), "labels[job-name]: keys of dataops.dev, kubernetes.io and k8s.io are not"),
        (asking(annotations={"x.kubernetes.io/y": "z"}), "annotations[x.kubernetes.io/y]: keys of dataops.dev"),
        (asking(labels={"team": "a b"}), "labels[team]: 'a b' is no value of a label"),
        (asking(labels={"a/b/c": "x"}), "labels[a/b/c]: 'a/b/c' is no key of a label or annotation"),
        (asking(nodeSelector={"": "x"}), "nodeSelector[]: '' is no key"),
        (asking(tolerations=[{"operator": "Exists"}]), "tolerations[0].key: a toleration of every taint"),
        (asking(priorityClassName="system-cluster-critical"), "priorityClassName: the classes system-..."),
        (mounted("/dataops/secrets"), "volumeMounts[0].mountPath: the step contract's and the runtime's own places"),
        (mounted("/tmp"), "volumeMounts[0].mountPath: the step contract's and the runtime's own places"),
        (mounted("/sys/fs"), "volumeMounts[0].mountPath: the step contract's and the runtime's own places"),
        (asking(volumeMounts=[{"name": "cash", "mountPath": "/a"}]), "volumeMounts[0].name: no volume 'cash'"),
        (
            asking(volumes=[CACHE], volumeMounts=[{"name": "cache", "mountPath": "/a"}] * 2),
            "volumeMounts[1].mountPath: something is mounted at /a already",
        ),
        (asking(volumes=[CACHE, CACHE]), "volumes[1].name: the name 'cache' is there already"),
        (asking(volumes=[{"name": "a"}]), "volumes[0]: a volume is exactly one of emptyDir, configMap and claim"),
        (
            asking(volumes=[{"name": "a", "emptyDir": {"medium": "Memory"}}]),
            "volumes[0].emptyDir.sizeLimit: memory is the node's: say how much",
        ),
        (
            asking(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}]}}),
            "affinity: condition 1, on a: In, NotIn, Gt and Lt need values",
        ),
    ],
)  # fmt: skip
def test_a_wrong_pod_template_says_where_and_what_to_do(wrong: PipelineBuilder, said: str) -> None:
    found = [str(one) for one in wrong.compiled().problems]
    assert len(found) == 1, found
    assert found[0].startswith(f"spec.steps[0].podTemplate.{said}"), found


def test_a_mount_of_a_step_may_be_of_a_volume_of_the_defaults() -> None:
    mounts = [{"name": "cache", "mountPath": "/cache"}]
    built = asking(volumeMounts=mounts).having(defaults={"podTemplate": {"volumes": [CACHE]}})
    assert built.compiled().problems == []
    (volume,) = (one for one in pod_of(built)["volumes"] if one["name"] == "extra-cache")
    assert volume["emptyDir"] == {}
    wrong = a_pipeline().step("a").having(defaults={"podTemplate": {"volumeMounts": mounts}})
    assert [one.path for one in wrong.compiled().problems] == ["spec.defaults.podTemplate.volumeMounts[0].name"]


def test_volumes_of_each_kind_come_under_names_that_are_none_of_ours() -> None:
    volumes = [
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "contract", "configMap": {"name": "c", "items": [{"key": "a", "path": "b"}], "optional": True}},
        {"name": "workspace", "claim": {"name": "lake", "readOnly": True}},
        {"name": "unused", "emptyDir": {}},
    ]
    mounts = [
        {"name": "tmp", "mountPath": "/cache"},
        {"name": "contract", "mountPath": "/etc/app", "readOnly": True},
        {"name": "workspace", "mountPath": "/lake", "subPath": "a/b"},
    ]
    pod = pod_of(asking(volumes=volumes, volumeMounts=mounts))
    assert [one for one in pod["volumes"] if one["name"].startswith("extra-")] == [
        {"name": "extra-tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "extra-contract", "configMap": {"name": "c", "items": [{"key": "a", "path": "b"}], "optional": True}},
        {"name": "extra-workspace", "persistentVolumeClaim": {"claimName": "lake", "readOnly": True}},
    ]
    assert pod["containers"][0]["volumeMounts"][-3:] == [
        {"name": "extra-tmp", "mountPath": "/cache"},
        {"name": "extra-contract", "mountPath": "/etc/app", "readOnly": True},
        {"name": "extra-workspace", "mountPath": "/lake", "subPath": "a/b"},
    ]


def test_of_step_template_and_pipeline_the_first_that_says_a_field_is_heard() -> None:
    def said(by: str) -> Object:
        return {"nodeSelector": {"from": by}, "annotations": {"by": by}}

    terms = [{"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    built = a_pipeline().template("t", image="i", podTemplate=said("template"))
    built.having(defaults={"podTemplate": {**said("pipeline"), "affinity": affinity}})
    built.uses("a", "t", podTemplate={"nodeSelector": {"from": "step"}}).uses("b", "t").step("c")
    pods = [pod_of(built, step=number) for number in range(3)]
    assert [pod["nodeSelector"]["from"] for pod in pods] == ["step", "template", "pipeline"]
    assert [pod["metadata"]["annotations"]["by"] for pod in pods] == ["template", "template", "pipeline"]
    assert all("nodeAffinity" in pod["affinity"] for pod in pods)


# The environment.


def test_the_environments_words_on_nodes_cannot_be_taken_back() -> None:
    gpu, own = {"key": "gpu", "operator": "Exists"}, {"key": "data", "operator": "Exists"}
    environment = an_environment(
        podDefaults={"nodeSelector": {"pool": "analytics"}, "tolerations": [own], "imagePullSecrets": [{"name": "r"}]},
        podPolicy={"taints": ["gpu"]},
    )
    pod = pod_of(asking(nodeSelector={"pool": "others", "disk": "ssd"}, tolerations=[gpu]), environment)
    assert pod["nodeSelector"] == {"pool": "analytics", "disk": "ssd"}
    assert pod["tolerations"] == [own, gpu]
    assert pod["imagePullSecrets"] == [{"name": "r"}]


ASKED: list[tuple[Object, Object, str]] = [
    ({"labels": {"team": "data"}}, {"labels": ["team"]}, "labels[team]: label 'team'"),
    ({"annotations": {"a.b/c": "d"}}, {"annotations": ["a.b/c"]}, "annotations[a.b/c]: annotation 'a.b/c'"),
    (
        {"annotations": {"io.kubernetes.cri-o.userns-mode": "x"}},
        {"annotations": ["io.kubernetes.cri-o.userns-mode"]},
        "annotations[io.kubernetes.cri-o.userns-mode]: annotation",
    ),
    ({"tolerations": [{"key": "gpu"}]}, {"taints": ["gpu"]}, "tolerations[0].key: tolerating 'gpu'"),
    ({"priorityClassName": "batch"}, {"priorityClasses": ["batch"]}, "priorityClassName: priority class 'batch'"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "policy", "said"), ASKED)
def test_what_reaches_beyond_the_pod_has_to_be_listed_by_the_environment(
    asked: Object, policy: Object, said: str
) -> None:
    pipeline = asking(**asked)
    pod_of(pipeline, an_environment(podPolicy=policy))
    field = f"spec.podPolicy.{next(iter(policy))}"
    for environment, cure in (
        (
            an_environment(),
            f"environment team/prod does not list it in its {field}; remove it, or have it listed there",
        ),
        (None, f"namespace team belongs to no environment, which could allow it in {field}"),
    ):
        ((reason, problem),) = unfit(a_run().inputs(pipeline, environment))
        assert reason == "PodNotAllowed"
        assert str(problem).startswith(f"pipeline flights: spec.steps[0].podTemplate.{said}")
        assert cure in problem.message
    defaulted = a_pipeline().step("a").having(defaults={"podTemplate": asked})
    ((_, problem),) = unfit(a_run().inputs(defaulted))
    assert problem.path.startswith("pipeline flights: spec.defaults.podTemplate."), "said where it stands"


def test_what_is_harmless_anywhere_needs_nobodys_leave() -> None:
    near = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"dataops.dev/pipeline": "p"}}}
    asked: Object = {
        "annotations": {"ticket": "DATA-7", "cost_center": "a b: c"},
        "nodeSelector": {"disk": "ssd"},
        "volumes": [CACHE],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}},
    }
    pod = pod_of(asking(**asked))
    assert pod["affinity"] == asked["affinity"]
    assert pod["metadata"]["annotations"]["cost_center"] == "a b: c"


def test_claims_are_known_with_their_place() -> None:
    volume: Object = {"name": "v", "claim": {"name": "lake"}}
    built = a_pipeline().step("a", podTemplate={"volumes": [CACHE, volume]}).step("b")
    built.having(
        workspace={"claim": "own"}, defaults={"podTemplate": {"volumes": [volume | {"claim": {"name": "more"}}]}}
    )
    assert claims(built.revision()) == {
        "own": "spec.workspace.claim",
        "lake": "spec.steps[0].podTemplate.volumes[1].claim.name",
        "more": "spec.defaults.podTemplate.volumes[0].claim.name",
    }
