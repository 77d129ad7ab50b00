"""What is wrong with steps that have no container, told where they stand and with the cure."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builders import a_pipeline

from dataops_operator.core.objects import allowed_kinds
from dataops_operator.core.validate import parse

OBJECT = {"apiVersion": "batch/v1", "kind": "Job", "name": "x", "when": "object.status.succeeded > 0"}


RAY = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"labels": {"n": "$(steps.a.outputs.n)"}}, "spec": {}}


def making(manifest: Any = None, **fields: Any) -> dict[str, Any]:
    return {"resource": {"manifest": {**RAY, **(manifest or {})}, "successWhen": "object.x", **fields}}


def told(step: dict[str, Any]) -> list[str]:
    builder = a_pipeline().step("a", outputs=[{"name": "n"}])
    builder.raw["steps"].append({"name": "s", **step})
    return [str(one) for one in parse(builder.raw)[1]]


@pytest.mark.parametrize(
    "step",
    [
        {"approval": {}},
        {"approval": {"message": "$(steps.a.outputs.n)", "timeout": "1h", "onTimeout": "Approve"}},
        {"wait": {"duration": "1h"}, "timeout": "2h"},
        {"wait": {"until": "2026-01-01"}},
        {"wait": {"until": "$(steps.a.outputs.n)"}},
        {"wait": {"condition": OBJECT}, "when": "steps.a.outputs.n != ''"},
        {"pipeline": {"name": "other"}, "timeout": "1h", "retry": {"limit": 1}, "outputs": [{"name": "rows"}]},
        {
            "resource": {"manifest": RAY, "successWhen": "object.status.done"},
            "startTimeout": "1m",
            "retry": {"limit": 1},
        },
        {"pipeline": {"name": "other", "parameters": [{"name": "n", "value": ["$(steps.a.outputs.n)", 1]}]}},
    ],
)
def test_what_is_right(step: dict[str, Any]) -> None:
    assert told(step) == []


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"approval": {}}, "approval.timeout"),
        ({"wait": {"condition": OBJECT}}, "timeout"),
        ({"approval": {"timeout": "1h"}}, None),
        ({"wait": {"condition": OBJECT}, "timeout": "1h"}, None),
        ({"wait": {"duration": "1h"}}, None),
    ],
)
def test_in_finally_what_waits_for_others_needs_a_time_of_its_own(step: dict[str, Any], path: str | None) -> None:
    raw = a_pipeline().step("a").having(**{"finally": [{"name": "s", **step}]}).raw
    found = [str(one) for one in parse(raw)[1]]
    assert len(found) == (path is not None)
    assert path is None or found[0].startswith(f"spec.finally[0].{path}: needed in finally, which neither a Graceful")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ({"outputs": [{"name": "o", "value": {"x": "$(params.token)"}}]}, "spec.outputs[0].value: $(params.token) is"),
        (
            {"steps": [{"name": "s", **making({"spec": {"t": "$(params.token)"}})}]},
            "spec.steps[0].resource.manifest: $(params.token) is masked, and the object would show it",
        ),
        (
            {
                "steps": [
                    {"name": "s", "pipeline": {"name": "o", "parameters": [{"name": "t", "value": "$(params.token)"}]}}
                ]
            },
            "spec.steps[0].pipeline.parameters[0].value: $(params.token) is masked, and the other run's spec",
        ),
    ],
)
def test_a_masked_parameter_is_not_named_where_others_read(place: dict[str, Any], why: str) -> None:
    raw = a_pipeline().step("a", outputs=[{"name": "n"}]).parameter("token", masked=True).raw | place
    assert any(str(one).startswith(why) for one in parse(raw)[1])


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (
            {"approval": {}, "wait": {"duration": "1s"}},
            "spec.steps[1].wait: a step is one of approval, wait, pipeline",
        ),
        (
            {"approval": {"onTimeout": "Approve"}},
            "spec.steps[1].approval.onTimeout: Approve means nothing without a timeout; add one",
        ),
        ({"approval": {}, "image": "i"}, "spec.steps[1].image: belongs to a container, and this step is of the kind"),
        ({"wait": {"duration": "1s"}, "retry": {"limit": 1}}, "spec.steps[1].retry: a step of the kind wait has none"),
        ({"wait": {"duration": "1s"}, "forEach": {"items": [1]}}, "spec.steps[1].forEach: belongs to a container"),
        ({"wait": {"duration": "1s"}, "results": "Endpoint"}, "spec.steps[1].results: belongs to a container"),
        ({"approval": {}, "timeout": "1h"}, "spec.steps[1].timeout: an approval has its own timeout"),
        ({"approval": {"timeout": "0s"}}, "spec.steps[1].approval.timeout: 0s is no time at all"),
        ({"approval": {"timeout": "400d"}}, "spec.steps[1].approval.timeout: 400d is longer than 366d"),
        ({"approval": {"approvers": {}}}, "spec.steps[1].approval.approvers: nobody could decide"),
        ({"approval": {"message": "$(params.x)"}}, "spec.steps[1].approval.message: $(params.x): no parameter 'x'"),
        ({"wait": {}}, "spec.steps[1].wait: a wait is for a duration, until a time, or for a condition"),
        ({"wait": {"duration": "1s", "until": "2026-01-01"}}, "spec.steps[1].wait: a wait is for a duration"),
        ({"wait": {"until": "soon"}}, "spec.steps[1].wait.until: 'soon' is no time; write it as 2013-02-09T06:00:00Z"),
        ({"wait": {"duration": "1h"}, "timeout": "30m"}, "spec.steps[1].wait.duration: 1h is not shorter than"),
        ({"wait": {"condition": {**OBJECT, "when": "1"}}}, "spec.steps[1].wait.condition.when: it gives"),
        ({"wait": {"condition": {**OBJECT, "when": "obj.x"}}}, "spec.steps[1].wait.condition.when: no variable 'obj'"),
        ({"wait": {"condition": {**OBJECT, "when": "steps.b.phase == 'x'"}}}, "when: steps.b.phase: no step 'b'"),
        ({"pipeline": {"name": "o"}, "args": ["x"]}, "spec.steps[1].args: belongs to a container"),
        ({"pipeline": {"name": "o"}, "resources": {}}, "spec.steps[1].resources: belongs to a container"),
        (
            {"pipeline": {"name": "o", "parameters": [{"name": "n", "value": {"x": "$(steps.a.outputs.m)"}}]}},
            "spec.steps[1].pipeline.parameters[0].value: $(steps.a.outputs.m): step 'a' declares no output 'm'",
        ),
        (
            {"pipeline": {"name": "o", "parameters": [{"name": "n"}, {"name": "n"}]}},
            "spec.steps[1].pipeline.parameters[1].name: the name 'n' is there already",
        ),
        (making({"apiVersion": None}), "spec.steps[1].resource.manifest.apiVersion: write it, such as batch/v1"),
        (making({"kind": "$(params.k)"}), "spec.steps[1].resource.manifest.kind: write it, such as Job"),
        (making({"metadata": {"name": "x"}}), "spec.steps[1].resource.manifest.metadata.name: is not yours to say"),
        (making({"apiVersion": "v1", "kind": "Secret"}), "manifest.kind: Secret (v1) is a kind that no step may touch"),
        (making({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}), "manifest.kind: Role (rbac"),
        (
            {"wait": {"condition": {"apiVersion": "v1", "kind": "Secret", "name": "x", "when": "true"}}},
            "wait.condition.kind: Secret (v1) is a kind that no step may touch",
        ),
        (making({"metadata": {"namespace": "x"}}), "manifest.metadata.namespace: is not yours to say"),
        (making({"metadata": {"ownerReferences": []}}), "manifest.metadata.ownerReferences: is not yours to say"),
        (making({"metadata": {"labels": {"dataops.dev/run-uid": "x"}}}), "metadata.labels: dataops.dev/... belongs to"),
        (making({"metadata": 7}), "spec.steps[1].resource.manifest.metadata: not an object"),
        (making({"status": {}}), "spec.steps[1].resource.manifest.status: is the controller's"),
        (making({"spec": {"x": ["$(params.no)"]}}), "spec.steps[1].resource.manifest: $(params.no): no parameter 'no'"),
        (making(failureWhen="1 +"), "spec.steps[1].resource.failureWhen: "),
        (making(outputs=[{"name": "n", "value": "obj"}]), "spec.steps[1].resource.outputs[0].value: no variable 'obj'"),
        (making(outputs=[{"name": "n", "value": "1"}] * 2), "spec.steps[1].resource.outputs[1].name: the name 'n'"),
        ({**making(), "outputs": [{"name": "n"}]}, "spec.steps[1].outputs: outputs of a resource are taken from its"),
        ({"when": "object.x", "approval": {}}, "spec.steps[1].when: no variable 'object'"),
        ({"image": "i", "args": ["$(steps.s.outputs.by)"]}, "step 's' declares no output 'by'"),
    ],
)
def test_what_is_wrong(step: dict[str, Any], problem: str) -> None:
    found = told(step)
    assert any(problem in one for one in found), found


def test_the_outputs_of_an_approval_are_known() -> None:
    builder = a_pipeline()
    builder.raw["steps"].append({"name": "ask", "approval": {}})
    builder.step("b", args=["$(steps.ask.outputs.by)", "$(steps.ask.outputs.why)"])
    (problem,) = parse(builder.raw)[1]
    assert "step 'ask' declares no output 'why'; there are: by, comment" in str(problem)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"apiVersion": "v1", "kind": "Secret", "resource": "secrets"}]', "no step may touch"),
        ('[{"apiVersion": "v1", "kind": "ServiceAccount", "resource": "serviceaccounts"}]', "no step may touch"),
        ('[{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "resource": "roles"}]', "no step may touch"),
        ('[{"apiVersion": "dataops.dev/v1alpha1", "kind": "PipelineRun", "resource": "x"}]', "no step may touch"),
        ('[{"apiVersion": "batch/v1", "kind": "Job"}]', "give apiVersion, kind and resource"),
        ('[{"apiVersion": "v1", "kind": "Pod", "resource": "pods", "access": "All"}]', "give one of Read, Apply"),
        ("[1]", "give apiVersion, kind and resource"),
    ],
)
def test_kinds_that_no_step_may_touch_are_refused_at_the_start(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        allowed_kinds(text)
