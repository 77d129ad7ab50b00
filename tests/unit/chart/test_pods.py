"""Pods: the operator's and the test's meet Pod Security restricted and stay up through drains and updates."""

from __future__ import annotations

import pytest
import yaml
from tests.unit.chart.rendering import Object, Render, Rendered

from dataops_operator.arguments import parse_arguments
from dataops_operator.vault.servers import parse_server

SETS = ["default", "ha-namespaced", "minimal", "vault"]


def operator_pod(rendered: Rendered) -> Object:
    pod: Object = rendered.one("Deployment")["spec"]["template"]["spec"]
    return pod


def container(rendered: Rendered) -> Object:
    only: Object
    (only,) = operator_pod(rendered)["containers"]
    return only


@pytest.mark.parametrize("ci", SETS)
def test_every_pod_is_restricted_rule_by_rule(render: Render, ci: str) -> None:
    rendered = render(ci=ci)
    pods = [operator_pod(rendered), rendered.one("Pod", "test")["spec"]]
    for pod in pods:
        for flag in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
            assert flag not in pod
        assert all(set(volume) == {"name", "projected"} for volume in pod.get("volumes", ()))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in pod["containers"]:
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["privileged"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert all("hostPort" not in port for port in each.get("ports", ()))
            assert set(each["resources"]) == {"requests", "limits"}


def test_every_value_of_the_operator_reaches_its_command_line(render: Render) -> None:
    rendered = render(
        log={"level": "debug", "format": "text"},
        operator={"workers": 7, "pipelineWait": "90s", "revisionGrace": "9m", "runnerServiceAccount": "steps"},
        environments={"namespacePattern": "x-{project}-*,y", "deletionWait": "90s"},
        images={"storage": "registry.example/storage:2"},
        image={"tag": "3"},
        serviceAccount={"name": "keeper"},
    )
    args = container(rendered)["args"]
    assert {
        "--listen=0.0.0.0:8080",
        "--log-level=debug",
        "--log-format=text",
        "--workers=7",
        "--pipeline-wait=90s",
        "--revision-grace=9m",
        "--runner-service-account=steps",
        "--environment-namespaces=x-{project}-*,y",
        "--deletion-wait=90s",
        "--storage-image=registry.example/storage:2",
        "--agent-image=localhost/dataops-operator:3",
        "--service-account=keeper",
    } <= set(args)


@pytest.mark.parametrize("ci", SETS)
def test_the_operator_takes_the_arguments_that_the_chart_gives(render: Render, ci: str) -> None:
    args = container(render(ci=ci))["args"]
    taken = vars(parse_arguments(args))
    assert taken["lease_namespace"] == "dataops-system"
    assert taken["environment_namespaces"] == next(a for a in args if "environment-namespaces" in a).partition("=")[2]


@pytest.mark.parametrize("ci", ["vault", "ha-namespaced"])
def test_the_operator_reads_the_servers_that_the_chart_writes(render: Render, ci: str) -> None:
    rendered = render(ci=ci)
    (config,) = rendered.all("ConfigMap")
    written = yaml.safe_load(config["data"]["servers.yaml"])["servers"]
    for server in written:
        read = parse_server(server)
        assert (read.name, read.address, read.audience) == (
            server["name"],
            server["address"],
            server["auth"]["audience"],
        )
        assert read.ca == server.get("ca")
        assert list(read.peers) == server["peers"]


def test_the_pod_learns_its_own_name_and_namespace(render: Render) -> None:
    env = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in container(render())["env"]}
    assert env == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}


def test_liveness_and_readiness_ask_different_questions_of_the_same_port(render: Render) -> None:
    only = container(render())
    assert only["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert only["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert only["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert [(p["name"], p["containerPort"]) for p in only["ports"]] == [("http", 8080)]


def test_an_update_starts_the_new_pod_before_it_ends_the_old_one(render: Render) -> None:
    strategy = render().one("Deployment")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_drain_takes_one_operator_at_a_time_and_is_never_blocked(render: Render, replicas: int) -> None:
    rendered = render(replicas=replicas)
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_the_disruption_budget_can_be_left_out(render: Render) -> None:
    assert render(podDisruptionBudget={"enabled": False}).all("PodDisruptionBudget") == []


def test_operators_prefer_different_nodes_unless_told_otherwise(render: Render) -> None:
    (constraint,) = operator_pod(render())["topologySpreadConstraints"]
    assert constraint["topologyKey"] == "kubernetes.io/hostname"
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "topologySpreadConstraints" not in operator_pod(render(topologySpread={"enabled": False}))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "localhost/dataops-operator:0.1.0"),
        ({"tag": "dev"}, "localhost/dataops-operator:dev"),
        (
            {"repository": "ghcr.io/acme/dataops", "digest": f"sha256:{'a' * 64}"},
            f"ghcr.io/acme/dataops:0.1.0@sha256:{'a' * 64}",
        ),
    ],
)
def test_the_image_is_named_by_tag_or_by_digest(render: Render, image: dict[str, str], expected: str) -> None:
    rendered = render(image=image)
    assert container(rendered)["image"] == expected
    assert f"--image={expected}" in rendered.one("Pod", "test")["spec"]["containers"][0]["args"]


def test_scheduling_values_reach_the_pod(render: Render) -> None:
    pod = operator_pod(render(ci="ha-namespaced"))
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["tolerations"][0]["key"] == "dedicated"
    assert "podAntiAffinity" in pod["affinity"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["terminationGracePeriodSeconds"] == 30


def test_a_users_labels_cannot_break_the_selector(render: Render) -> None:
    rendered = render(podLabels={"app.kubernetes.io/instance": "other", "team": "data"})
    deployment = rendered.one("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "data"
