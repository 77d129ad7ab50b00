"""The chart's other parts: labels, CRDs, metrics, network policy, helm test, and what its schema refuses."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest
from tests.unit.chart.rendering import Object, RefusedError, Render

from chartcheck import CHART, CRDS, ROOT
from dataops_operator import __version__
from dataops_operator.metrics.registry import Metrics

SETS = ["default", "ha-namespaced", "minimal", "vault"]
KEEP = "helm.sh/resource-policy"


@pytest.mark.parametrize("ci", SETS)
@pytest.mark.parametrize("release", ["dataops-operator", "team-a", "123"])
def test_everything_carries_the_standard_labels(render: Render, ci: str, release: str) -> None:
    for obj in render(ci=ci, release=release).objects:
        labels = obj["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "dataops-operator"
        assert labels["app.kubernetes.io/instance"] == release
        assert labels["app.kubernetes.io/version"] == "0.1.0"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"] == "dataops-operator-0.1.0"
        assert labels["app.kubernetes.io/component"]
        assert all(isinstance(value, str) for value in labels.values())


def test_common_labels_and_annotations_reach_everything(render: Render) -> None:
    for obj in render(commonLabels={"team": "data"}, commonAnnotations={"note": "x"}).objects:
        assert obj["metadata"]["labels"]["team"] == "data"
        assert obj["metadata"]["annotations"]["note"] == "x"


@pytest.mark.parametrize("release", ["dataops-operator", "a" * 53])
def test_names_are_short_enough_and_no_two_objects_share_one(render: Render, release: str) -> None:
    objects = render(ci="ha-namespaced", release=release).objects
    names = Counter((o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects)
    assert [name for name, count in names.items() if count > 1] == []
    assert [name for _, _, name in names if len(name) > 63] == []


def test_the_crds_are_those_of_the_crds_folder(render: Render) -> None:
    rendered = {o["metadata"]["name"]: o["spec"] for o in render().all("CustomResourceDefinition")}
    expected = [yaml.safe_load(path.read_text()) for path in CRDS.glob("*_*.yaml")]
    assert rendered == {crd["metadata"]["name"]: crd["spec"] for crd in expected}


def test_uninstalling_keeps_the_crds_and_with_them_all_pipelines_unless_told_otherwise(render: Render) -> None:
    for crd in render().all("CustomResourceDefinition"):
        assert crd["metadata"]["annotations"][KEEP] == "keep"
    for crd in render(crds={"keep": False}).all("CustomResourceDefinition"):
        assert KEEP not in crd["metadata"].get("annotations", {})


def test_only_crds_are_kept(render: Render) -> None:
    kept = [o["kind"] for o in render().objects if KEEP in o["metadata"].get("annotations", {})]
    assert set(kept) == {"CustomResourceDefinition"}


def test_the_crds_can_be_left_out(render: Render) -> None:
    assert render(crds={"install": False}).all("CustomResourceDefinition") == []


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")]
)
def test_a_monitor_selects_what_has_the_metrics(render: Render, kind: str, endpoints: str) -> None:
    rendered = render(metrics={"monitor": {"kind": kind, "interval": "15s", "labels": {"release": "prom"}}})
    monitor = rendered.one(kind)
    target = rendered.one("Service") if kind == "ServiceMonitor" else rendered.one("Deployment")["spec"]["template"]
    ports = target["spec"]["ports"] if kind == "ServiceMonitor" else target["spec"]["containers"][0]["ports"]
    assert monitor["metadata"]["labels"]["release"] == "prom"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= target["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"][endpoints]
    assert endpoint["port"] in [port["name"] for port in ports]
    assert (endpoint["path"], endpoint["interval"]) == ("/metrics", "15s")


def test_no_monitor_unless_asked_for(render: Render) -> None:
    rendered = render()
    assert rendered.all("PodMonitor") + rendered.all("ServiceMonitor") == []


def test_a_service_monitor_without_a_service_is_refused_with_the_cure(render: Render) -> None:
    values = {"service": {"enabled": False}, "monitor": {"kind": "ServiceMonitor"}}
    with pytest.raises(RefusedError, match=r"metrics\.service\.enabled is false.*choose PodMonitor"):
        render(metrics=values)


def test_the_metrics_service_selects_the_operators_pods(render: Render) -> None:
    rendered = render()
    service = rendered.one("Service")["spec"]
    labels = rendered.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["clusterIP"] == "None"


def test_the_network_policy_lets_scrapes_in_and_dns_and_the_api_server_out(render: Render) -> None:
    assert render().all("NetworkPolicy") == []
    policy = render(networkPolicy={"enabled": True, "apiServer": {"cidrs": ["10.96.0.1/32"], "ports": [443]}}).one(
        "NetworkPolicy"
    )["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (scrape,) = policy["ingress"]
    assert [p["port"] for p in scrape["ports"]] == [8080]
    dns, server = policy["egress"]
    assert {(p["port"], p["protocol"]) for p in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert server == {
        "ports": [{"port": 443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "10.96.0.1/32"}}],
    }


def test_helm_test_runs_a_pipeline_with_an_account_of_its_own(render: Render) -> None:
    rendered = render()
    objects = [o for o in rendered.objects if o["metadata"]["labels"]["app.kubernetes.io/component"] == "test"]
    assert {o["kind"] for o in objects} == {"Pod", "ServiceAccount", "Role", "RoleBinding"}
    for obj in objects:
        assert obj["metadata"]["annotations"]["helm.sh/hook"] == "test"
    pod = rendered.one("Pod", "test")
    assert pod["spec"]["serviceAccountName"] == rendered.one("ServiceAccount", "test")["metadata"]["name"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["containers"][0]["command"] == ["python3", "-m", "dataops_operator.smoke"]
    weights = {o["kind"]: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for o in objects}
    assert all(weights[kind] < weights["Pod"] for kind in weights if kind != "Pod")


@pytest.mark.parametrize(
    ("values", "namespace"),
    [
        ({}, "dataops-system"),
        ({"watch": {"namespaces": ["analytics", "sales"]}}, "analytics"),
        ({"watch": {"namespaces": ["analytics", "dataops-system"]}}, "dataops-system"),
        ({"watch": {"namespaces": ["analytics", "sales"]}, "test": {"namespace": "sales"}}, "sales"),
        ({"test": {"namespace": "sales"}}, "sales"),
    ],
)
def test_helm_test_runs_its_pipeline_where_the_operator_looks(
    render: Render, values: dict[str, Any], namespace: str
) -> None:
    rendered = render(**values)
    assert f"--namespace={namespace}" in rendered.one("Pod", "test")["spec"]["containers"][0]["args"]
    for kind in ("Role", "RoleBinding"):
        assert rendered.one(kind, "test")["metadata"]["namespace"] == namespace
    assert rendered.one("Pod", "test")["metadata"]["namespace"] == "dataops-system"


def test_helm_test_in_a_namespace_that_nobody_watches_is_refused(render: Render) -> None:
    with pytest.raises(RefusedError, match=r"test\.namespace is ops, which is not among watch\.namespaces"):
        render(watch={"namespaces": ["analytics"]}, test={"namespace": "ops"})


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": "2"}, "/replicas"),
        ({"image": {"tga": "dev"}}, "/image"),
        ({"image": {"tag": "a b"}}, "/image/tag"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"log": {"level": "loud"}}, "/log/level"),
        ({"watch": {"namespaces": "analytics"}}, "/watch/namespaces"),
        ({"watch": {"namespaces": ["Analytics"]}}, "/watch/namespaces/0"),
        ({"watch": {"namespaces": ["a", "a"]}}, "/watch/namespaces"),
        ({"operator": {"pipelineWait": "2 minutes"}}, "/operator/pipelineWait"),
        ({"operator": {"workers": 0}}, "/operator/workers"),
        ({"metrics": {"monitor": {"kind": "podMonitor"}}}, "/metrics/monitor/kind"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
        ({"crds": {"enabled": False}}, "/crds"),
        ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0"),
        ({"tolerations": [{"efect": "NoSchedule"}]}, "/tolerations/0"),
        ({"networkPolicy": {"apiServer": {"cidrs": ["10.96.0.1"]}}}, "/networkPolicy/apiServer/cidrs/0"),
        ({"commonLabels": {"team": "data platform"}}, "/commonLabels/team"),
        ({"environments": {"namespacePattern": "Prod*"}}, "/environments/namespacePattern"),
        ({"environments": {"namespacePattern": "{name}-*"}}, "/environments/namespacePattern"),
        ({"admission": {"mutating": "v2"}}, "/admission/mutating"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_typo_in_the_values_is_refused_and_named(render: Render, values: dict[str, Any], path: str) -> None:
    with pytest.raises(RefusedError, match=rf"'?{path}'?"):
        render(**values)


def test_every_value_stands_in_the_schema_and_every_part_of_the_schema_is_closed() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(part: Object, value: Object, path: str) -> None:
        known = set(part["properties"])
        assert part["additionalProperties"] is False, path
        assert set(value) == known - ({"global"} if not path else set()), path
        for name, below in part["properties"].items():
            if name in value and isinstance(value[name], dict) and "properties" in below and value[name]:
                compare(below, value[name], f"{path}.{name}")

    compare(schema, values, "")


def test_chart_image_and_package_are_of_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    dockerfile = (ROOT / "operator" / "Dockerfile").read_text().splitlines()
    assert chart["version"] == chart["appVersion"] == __version__
    assert f"ARG VERSION={__version__}" in dockerfile
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["images"]["storage"].endswith(f":{__version__}")


def test_no_value_is_a_secret_and_no_note_could_hold_one() -> None:
    """A value lands in the release's Secret and in whatever keeps the values; credentials have no place there."""
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())

    def names(part: Any) -> set[str]:
        below = [
            *part.get("properties", {}).values(),
            *([part["items"]] if isinstance(part.get("items"), dict) else []),
        ]
        return set(part.get("properties", {})) | {name for one in below for name in names(one)}

    delicate = [
        one for one in names(schema) if any(w in one.lower() for w in ("password", "token", "secret", "apikey"))
    ]
    assert delicate == ["imagePullSecrets"], "names of Secrets, not their content"


def test_alerts_are_about_metrics_that_there_are(render: Render) -> None:
    (group,) = render(ci="vault").one("PrometheusRule")["spec"]["groups"]
    asked = {name for rule in group["rules"] for name in re.findall(r"dataops_[a-z_]+", rule["expr"])}
    told = generate_latest(Metrics().registry).decode()
    assert asked <= set(re.findall(r"^# TYPE (\S+) ", told, re.MULTILINE))
    assert len(asked) >= 4


def test_every_alert_is_explained(render: Render) -> None:
    (group,) = render(ci="vault").one("PrometheusRule")["spec"]["groups"]
    text = (ROOT / "docs" / "operations.md").read_text()
    for rule in group["rules"]:
        assert f"| `{rule['alert']}` |" in text
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} == set(rule["annotations"])
