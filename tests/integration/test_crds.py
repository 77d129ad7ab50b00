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
from tests.integration.crdcases import CHANGED, CREATED, ONE
from tests.integration.crdobjects import (
    PG,
    S3,
    Object,
    environment,
    pipeline,
    run,
    template,
    with_parameter,
    with_secret,
    with_target,
)

from dataops_operator.api.base import GROUP
from localcluster import binaries
from localcluster.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
NAMESPACE = "crds"
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
KINDS = (ENVIRONMENTS, TEMPLATES, PIPELINES, RUNS)
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
