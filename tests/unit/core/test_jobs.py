import re
import uuid
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import RUN_UID, RUNNER, PipelineBuilder, RunBuilder, a_pipeline, a_run, at
from tests.unit.core.expansion import expand

from dataops_operator.api.pipeline import Workspace
from dataops_operator.core.inputs import Identity
from dataops_operator.core.jobs import build_claim, build_job
from dataops_operator.core.names import event_name, job_name, workspace_claim_name
from dataops_operator.core.templating import TemplateError

Object = dict[str, Any]
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def job_of(pipeline: PipelineBuilder, run: RunBuilder | None = None, *, attempt: int = 1, **outputs: Any) -> Object:
    """The Job of a pipeline's first step."""
    inputs = (run or a_run()).inputs(pipeline)
    return build_job(inputs, (inputs.revision.spec.steps[0],), attempt, outputs)


def pod_of(pipeline: PipelineBuilder, run: RunBuilder | None = None, **outputs: Any) -> Object:
    spec: Object = job_of(pipeline, run, **outputs)["spec"]["template"]["spec"]
    return spec


def container_of(pipeline: PipelineBuilder, run: RunBuilder | None = None, **outputs: Any) -> Object:
    (container,) = pod_of(pipeline, run, **outputs)["containers"]
    body: Object = container
    return body


def environment_of(container: Object) -> dict[str, str]:
    """The variables as the process sees them: Kubernetes expands each with those before it."""
    seen: dict[str, str] = {}
    for one in container["env"]:
        if "value" in one:
            seen[one["name"]] = expand(one["value"], seen)
    return seen


def mounts_of(container: Object) -> dict[str, Object]:
    return {one["mountPath"]: one for one in container["volumeMounts"]}


# The pod.


def test_a_pod_meets_pod_security_restricted_without_any_work_by_the_user() -> None:
    pod = pod_of(a_pipeline().step("a"))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert "privileged" not in security
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    assert all(volume.keys() - {"name"} <= allowed for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


def test_a_pod_has_no_token_of_its_service_account_and_learns_nothing_of_its_neighbours() -> None:
    pod = pod_of(a_pipeline().step("a"))
    assert pod["serviceAccountName"] == RUNNER
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_a_job_never_tries_again_by_itself() -> None:
    job = job_of(a_pipeline().step("a"))
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
    assert "activeDeadlineSeconds" not in job["spec"], "the Job's deadline would fail a pod that succeeded late"


def test_a_job_goes_with_its_run_and_tells_what_the_run_began_with() -> None:
    pipeline = a_pipeline().parameter("day", "Date").parameter("n", "Integer", default=7).step("a")
    job = job_of(pipeline, a_run().parameter("day", "2013-02-09").having(logicalDate="2013-02-09T01:00:00+02:00"))
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "PipelineRun",
        "flights-1",
        RUN_UID,
        True,
    )
    assert "blockOwnerDeletion" not in owner
    annotations = job["metadata"]["annotations"]
    assert annotations["dataops.dev/revision"] == pipeline.revision().name
    assert annotations["dataops.dev/logical-date"] == "2013-02-09T01:00:00+02:00"
    assert orjson.loads(annotations["dataops.dev/parameter-origins"]) == {"day": "Run", "n": "Pipeline"}
    told = job["spec"]["template"]["metadata"]["annotations"]
    assert orjson.loads(told["dataops.dev/parameters"]) == {"day": "2013-02-09", "n": 7}


def test_job_and_pod_carry_the_labels_by_which_they_are_found() -> None:
    job = job_of(a_pipeline().step("a"), attempt=3)
    labels = job["metadata"]["labels"]
    assert job["spec"]["template"]["metadata"]["labels"] == labels
    assert labels == {
        "app.kubernetes.io/managed-by": "dataops-operator",
        "dataops.dev/pipeline": "flights",
        "dataops.dev/run": "flights-1",
        "dataops.dev/run-uid": RUN_UID,
        "dataops.dev/step": "a",
        "dataops.dev/attempt": "3",
    }


@pytest.mark.parametrize(
    ("pipeline", "seconds"),
    [
        pytest.param(a_pipeline().step("a"), None, id="none where nothing is said"),
        pytest.param(a_pipeline().step("a", timeout="1h30m"), 5400 + 300 + 30, id="the step's own"),
        pytest.param(a_pipeline().having(defaults={"timeout": "90s"}).step("a"), 90 + 300 + 30, id="the defaults'"),
        pytest.param(
            a_pipeline().having(defaults={"timeout": "90s"}).step("a", timeout="1s", startTimeout="2m"),
            1 + 120 + 30,
            id="the step's own first",
        ),
    ],
)
def test_a_pod_has_the_time_of_its_step_and_that_for_its_start(pipeline: PipelineBuilder, seconds: int | None) -> None:
    assert pod_of(pipeline).get("activeDeadlineSeconds") == seconds


# What runs.


def test_command_arguments_and_image_are_filled_in() -> None:
    pipeline = (
        a_pipeline()
        .parameter("day", "Date", default="2013-02-09")
        .parameter("tag", default="v1")
        .step(
            "a",
            image="img:$(params.tag)",
            command=["run", "$(params.day)", "$(date)"],
            args=["$(steps.land.outputs.rows)", "$(run.name)", "$$(params.day)"],
            outputs=[],
        )
    )
    container = container_of(pipeline, land={"rows": 7})
    assert container["image"] == "img:v1"
    assert [expand(one, {}) for one in container["command"]] == ["run", "2013-02-09", "$(date)"]
    assert [expand(one, {}) for one in container["args"]] == ["7", "flights-1", "$(params.day)"]


def test_an_image_alone_runs_its_own_entrypoint() -> None:
    container = container_of(a_pipeline().step("a", command=None))
    assert not {"command", "args"} & container.keys()


@pytest.mark.parametrize(
    ("script", "command"),
    [
        pytest.param("#!/usr/bin/env python3\nprint()", ["/dataops/script"], id="by its first line"),
        pytest.param("echo $(date) $(params.x)", ["/bin/sh", "/dataops/script"], id="by the shell where it has none"),
    ],
)
def test_a_script_runs_and_takes_no_templates(script: str, command: list[str]) -> None:
    job = job_of(a_pipeline().step("a", script=script))
    template = job["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["command"] == command
    mount = mounts_of(container)["/dataops/script"]
    assert mount["readOnly"] is True
    assert downward(template, mount["subPath"]) == script
    (item,) = [one for one in contract_items(template) if one["path"] == mount["subPath"]]
    assert item["mode"] == 0o555, "it must be executable for the container's user"


def contract_items(template: Object) -> list[Object]:
    (volume,) = [one for one in template["spec"]["volumes"] if one["name"] == "contract"]
    items: list[Object] = volume["downwardAPI"]["items"]
    return items


def downward(template: Object, path: str) -> str:
    """The text that the kubelet writes into the contract volume under a path."""
    (item,) = [one for one in contract_items(template) if one["path"] == path]
    key = re.fullmatch(r"metadata\.annotations\['(.*)'\]", item["fieldRef"]["fieldPath"])
    assert key
    text: str = template["metadata"]["annotations"][key[1]]
    return text


def test_the_parameters_are_a_file() -> None:
    template = job_of(a_pipeline().parameter("list", "Array", default=[1, "$(x)"]).step("a"))["spec"]["template"]
    mount = mounts_of(template["spec"]["containers"][0])["/dataops/params.json"]
    assert mount["readOnly"] is True
    assert orjson.loads(downward(template, mount["subPath"])) == {"list": [1, "$(x)"]}


def test_the_environment_is_that_of_the_step_contract() -> None:
    pipeline = (
        a_pipeline()
        .parameter("day", "Date", default="$(run.logicalDate)")
        .parameter("flag", "Boolean", default=True)
        .parameter("list", "Array", default=["a", 1])
        .parameter("text", default="$(DATAOPS_RUN) $$ $(x)")
        .step(
            "a",
            env=[
                {"name": "OUT", "value": "/out/$(params.day)"},
                {"name": "WHO", "value": "$(DATAOPS_STEP)"},
                {"name": "E"},
            ],
        )
    )
    seen = environment_of(container_of(pipeline))
    assert seen | {} == seen
    expected = {
        "DATAOPS_RUN": "flights-1",
        "DATAOPS_RUN_UID": RUN_UID,
        "DATAOPS_PIPELINE": "flights",
        "DATAOPS_ENVIRONMENT": "team",
        "DATAOPS_STEP": "a",
        "DATAOPS_ATTEMPT": "1",
        "DATAOPS_IDEMPOTENCY_KEY": f"{RUN_UID}/a",
        "DATAOPS_LOGICAL_DATE": at(0),
        "DATAOPS_PARAM_DAY": at(0)[:10],
        "DATAOPS_PARAM_FLAG": "true",
        "DATAOPS_PARAM_LIST": '["a",1]',
        "DATAOPS_PARAM_TEXT": "$(DATAOPS_RUN) $$ $(x)",
        "OUT": f"/out/{at(0)[:10]}",
        "WHO": "a",
        "E": "",
        "HOME": "/tmp",
    }
    assert {name: seen[name] for name in expected} == expected
    assert seen.keys() - expected.keys() == {"OPENLINEAGE_PARENT_ID", "TRACEPARENT"}


def test_a_step_may_have_a_home_of_its_own() -> None:
    pipeline = a_pipeline().step("a", env=[{"name": "HOME", "value": "/dataops/workspace"}])
    homes = [one["value"] for one in container_of(pipeline)["env"] if one["name"] == "HOME"]
    assert homes == ["/dataops/workspace"]


def test_attempts_share_the_idempotency_key_and_the_trace_but_not_the_span() -> None:
    first, second = (
        environment_of(job_of(a_pipeline().step("a"), attempt=attempt)["spec"]["template"]["spec"]["containers"][0])
        for attempt in (1, 2)
    )
    assert (first["DATAOPS_ATTEMPT"], second["DATAOPS_ATTEMPT"]) == ("1", "2")
    assert first["DATAOPS_IDEMPOTENCY_KEY"] == second["DATAOPS_IDEMPOTENCY_KEY"]
    traces = [re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01", one["TRACEPARENT"]) for one in (first, second)]
    (trace, span), (other_trace, other_span) = [one.groups() for one in traces if one is not None]
    assert trace == other_trace
    assert span != other_span


def test_the_lineage_parent_is_namespace_job_and_a_uuid() -> None:
    parent = environment_of(container_of(a_pipeline().step("a")))["OPENLINEAGE_PARENT_ID"]
    namespace, name, run_id = parent.split("/")
    assert (namespace, name) == ("team", "flights.a")
    assert uuid.UUID(run_id).version == 5


def test_a_template_that_names_nothing_is_an_error_and_no_job() -> None:
    with pytest.raises(TemplateError, match=r"\$\(params\.map\.x\)"):
        job_of(a_pipeline().parameter("map", "Object", default={"a": 1}).step("a", args=["$(params.map.x)"]))


def test_resources_come_from_the_step_or_the_defaults() -> None:
    own = {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}
    defaults = {"resources": {"requests": {"cpu": "100m"}}}
    assert container_of(a_pipeline().having(defaults=defaults).step("a", resources=own))["resources"] == own
    assert container_of(a_pipeline().having(defaults=defaults).step("a"))["resources"] == defaults["resources"]
    assert "resources" not in container_of(a_pipeline().step("a"))


def test_the_result_is_the_termination_message_and_tmp_can_be_written() -> None:
    container = container_of(a_pipeline().step("a"))
    assert container["terminationMessagePath"] == "/dataops/result"
    assert container.get("terminationMessagePolicy", "File") == "File", "a log's last lines are no result"
    assert "/tmp" in mounts_of(container)


# The workspace.


@pytest.mark.parametrize(
    ("workspace", "fields", "claim"),
    [
        pytest.param({"claim": "mine"}, {}, "mine", id="a claim that exists"),
        pytest.param({"size": "1Gi"}, {}, workspace_claim_name("flights-1", RUN_UID), id="the run's own claim"),
        pytest.param(
            {"size": "1Gi"}, {"workspace": "Mount"}, workspace_claim_name("flights-1", RUN_UID), id="said twice"
        ),
        pytest.param({"size": "1Gi"}, {"workspace": "None"}, None, id="kept out of the step"),
        pytest.param(None, {}, None, id="there is none"),
    ],
)
def test_a_workspace_is_mounted(workspace: Object | None, fields: Object, claim: str | None) -> None:
    pod = pod_of(a_pipeline().having(workspace=workspace).step("a", **fields))
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
    assert claims == ([claim] if claim else [])
    assert ("/dataops/workspace" in mounts_of(pod["containers"][0])) is (claim is not None)


@pytest.mark.parametrize(
    ("workspace", "spec"),
    [
        ({"size": "1Gi"}, {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        (
            {"size": "5Gi", "storageClass": "fast", "accessMode": "ReadWriteMany"},
            {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "5Gi"}},
                "storageClassName": "fast",
            },
        ),
    ],
    ids=["as the cluster has it", "as it was said"],
)
def test_a_claim_is_the_runs_own(workspace: Object, spec: Object) -> None:
    claim = build_claim(a_run().identity(), Workspace.model_validate(workspace))
    assert claim["spec"] == spec
    assert claim["metadata"]["ownerReferences"][0]["uid"] == RUN_UID
    assert claim["metadata"]["labels"]["dataops.dev/run-uid"] == RUN_UID


# A stage of two.


def test_a_stage_of_two_runs_the_first_before_the_second_in_one_pod() -> None:
    pipeline = (
        a_pipeline().having(workspace={"size": "1Gi"}).step("a", script="x", workspace="None").step("b", script="y")
    )
    inputs = a_run().inputs(pipeline)
    job = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})
    template = job["spec"]["template"]
    (first,), (second,) = template["spec"]["initContainers"], template["spec"]["containers"]
    assert (first["name"], second["name"]) == ("a", "b")
    assert job["metadata"]["name"] == job_name("flights-1", RUN_UID, "a", 1)
    assert job["metadata"]["labels"]["dataops.dev/step"] == "a"
    for container, script, mounted in ((first, "x", False), (second, "y", True)):
        assert container["terminationMessagePath"] == "/dataops/result"
        assert environment_of(container)["DATAOPS_STEP"] == container["name"]
        assert downward(template, mounts_of(container)["/dataops/script"]["subPath"]) == script
        assert ("/dataops/workspace" in mounts_of(container)) is mounted


def test_what_is_behind_in_a_pod_begins_only_while_that_has_its_label() -> None:
    """As a kubelet has it: variables and mounts are made when it is a container's turn, by the pod as it is then."""
    inputs = a_run().inputs(a_pipeline().step("a").step("b").step("c"))
    job = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})
    template = job["spec"]["template"]
    first, *others = template["spec"]["initContainers"]
    behind = [*others, *template["spec"]["containers"]]
    assert mounts_of(first)["/dataops/params.json"]["subPath"] == "params.json"
    assert len(behind) == 2
    for container in behind:
        (variable,) = (one for one in container["env"] if "valueFrom" in one)
        path = variable["valueFrom"]["fieldRef"]["fieldPath"].removeprefix("metadata.labels['").removesuffix("']")
        value = template["metadata"]["labels"][path]
        assert job["metadata"]["labels"][path] == value, "by which a Job of an earlier release is told"
        mount = mounts_of(container)["/dataops/params.json"]
        assert mount["subPathExpr"].replace(f"$({variable['name']})", value) == "params.json"
        assert "subPath" not in mount
    alone = build_job(inputs, tuple(inputs.revision.spec.steps[:1]), 1, {})
    assert "dataops.dev/goes-on" not in alone["spec"]["template"]["metadata"]["labels"]


def test_scripts_of_a_stage_with_long_alike_names_are_kept_apart() -> None:
    names = [f"{'x' * 60}-{index}" for index in (1, 2)]
    inputs = a_run().inputs(a_pipeline().step(names[0], script="one").step(names[1], script="two"))
    template = build_job(inputs, tuple(inputs.revision.spec.steps), 1, {})["spec"]["template"]
    containers = [*template["spec"]["initContainers"], *template["spec"]["containers"]]
    told = [downward(template, mounts_of(one)["/dataops/script"]["subPath"]) for one in containers]
    assert told == ["one", "two"]


# Names.

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.uuids().map(str), NAMES, st.integers(1, 21))
def test_every_name_fits_a_label_and_is_the_same_again(run: str, uid: str, step: str, attempt: int) -> None:
    for name in (
        job_name(run, uid, step, attempt),
        workspace_claim_name(run, uid),
        event_name(uid, "StepFailed", step),
    ):
        assert LABEL.fullmatch(name), name
        assert len(name) <= 63
    assert job_name(run, uid, step, attempt) == job_name(run, uid, step, attempt)


def test_names_of_different_things_differ_even_where_the_readable_part_is_the_same() -> None:
    long = "r" * 63
    names = [
        job_name(run, uid, step, attempt)
        for run in (long, "r")
        for uid in ("u1", "u2")
        for step in ("s" * 40 + "1", "s" * 40 + "2", "s")
        for attempt in (1, 2, 11, 21)
    ]
    assert len(set(names)) == len(names)


def test_the_longest_names_make_labels_and_paths_that_kubernetes_takes() -> None:
    step = "s" * 63
    pipeline = a_pipeline("p" * 52).step(step, script="x")
    job = job_of(pipeline, a_run("r" * 63, "p" * 52), attempt=21)
    template = job["spec"]["template"]
    for value in job["metadata"]["labels"].values():
        assert LABEL_VALUE.fullmatch(value)
        assert len(value) <= 63
    for key in [*job["metadata"]["annotations"], *template["metadata"]["annotations"]]:
        assert len(key.split("/")[1]) <= 63
        assert LABEL_VALUE.fullmatch(key.split("/")[1])
    assert LABEL.fullmatch(template["spec"]["containers"][0]["name"])


def test_the_same_inputs_make_the_same_job_and_another_run_another() -> None:
    pipeline = a_pipeline().step("a")
    assert job_of(pipeline) == job_of(pipeline)
    other = replace(a_run().identity(), uid="another")
    assert isinstance(other, Identity)
    assert job_of(pipeline, a_run().uid_of("another"))["metadata"]["name"] != job_of(pipeline)["metadata"]["name"]


def test_a_job_of_the_largest_inputs_fits_the_api_servers_limits() -> None:
    pipeline = a_pipeline().parameter("p", default="x" * 32_000).parameter("q", default="x" * 32_000)
    job = job_of(pipeline.step("a", script="x" * 65_536))
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert sum(len(key) + len(value) for key, value in annotations.items()) < 256 * 1024
    assert len(orjson.dumps(job)) < 1_500_000


def test_an_output_of_a_step_that_has_not_succeeded_is_told_as_that() -> None:
    pipeline = a_pipeline().step("a", outputs=[{"name": "n"}])
    last = {"name": "z", "image": "img", "args": ["$(steps.a.outputs.n)"]}
    inputs = a_run().inputs(pipeline.having(**{"finally": [last]}))
    with pytest.raises(TemplateError, match="step 'a' has not succeeded, so it has no outputs; have a `when`"):
        build_job(inputs, (inputs.revision.steps["z"],), 1, {}, outcome="Failed")
