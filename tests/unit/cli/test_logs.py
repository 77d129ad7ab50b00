"""Which containers hold a log, and what of it must not show."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.harness.canary import canary, needles

from dataops_operator.cli.cluster import ENVIRONMENTS, JOBS, SECRETS, Cluster, Kind
from dataops_operator.cli.containers import Source, Wanted, choose, sources
from dataops_operator.cli.errors import CliError
from dataops_operator.cli.masks import Mask, of_run, texts

Object = dict[str, Any]


def pod(name: str, attempt: int, *containers: str, begun: bool = True, made: int = 0) -> Object:
    """A pod whose last container is the main one, the others before it."""
    states = [{"name": one, "state": {"terminated": {}} if begun else {"waiting": {}}} for one in containers]
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-05T06:00:{made:02d}Z",
            "labels": {"dataops.dev/attempt": str(attempt)},
        },
        "spec": {
            "initContainers": [{"name": one} for one in containers[:-1]],
            "containers": [{"name": containers[-1]}],
        },
        "status": {"initContainerStatuses": states[:-1], "containerStatuses": states[-1:]},
    }


def a_run(**status: Any) -> Object:
    return {
        "metadata": {"name": "r", "namespace": "shop", "uid": "u"},
        "spec": {"pipeline": "p", "parameters": [{"name": "token", "value": "from-the-spec"}]},
        "status": status,
    }


ROWS = [
    {"name": "land", "phase": "Succeeded", "attempt": 3},
    {"name": "audit", "phase": "Running", "attempt": 1},
    {"name": "publish", "phase": "Pending"},
    {"name": "lost", "phase": "Failed", "attempt": 1},
]
PODS = [
    pod("land-1", 1, "land"),
    pod("land-3", 3, "dataops-secrets", "land"),
    pod("land-2", 2, "land"),
    pod("audit-1-old", 1, "audit", made=1),
    pod("audit-1-new", 1, "audit", made=2, begun=False),
]


def chosen(
    step: str | None, attempt: int | None = None, previous: bool = False, pods: list[Object] = PODS
) -> list[str]:
    wanted = Wanted(step, None, attempt, previous)
    return [one.pod for one in choose(sources(pods), a_run(steps=ROWS), wanted)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"step": "land"}, ["land-3"], id="the last attempt"),
        pytest.param({"step": "land", "previous": True}, ["land-2"], id="the one before"),
        pytest.param({"step": "land", "attempt": 1}, ["land-1"], id="one by its number"),
        pytest.param({"step": "audit"}, ["audit-1-new"], id="of two pods of an attempt the later"),
        pytest.param({"step": None}, ["land-3", "audit-1-new"], id="all, in the order of the steps"),
    ],
)
def test_the_container_of(arguments: dict[str, Any], expected: list[str]) -> None:
    assert chosen(**arguments) == expected


def test_steps_that_share_a_pod_have_a_container_each() -> None:
    fused = [pod("stage-1", 1, "land", "audit")]
    found = choose(sources(fused), a_run(steps=ROWS[:2]), Wanted("audit", attempt=1))
    assert found == [Source("audit", 1, "stage-1", True)]
    assert chosen("land", attempt=1, pods=fused) == ["stage-1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": "lnad"}, "run r has no step 'lnad'; it has: land, audit, publish, lost"),
        ({"step": "publish"}, "step publish has not begun: it is Pending"),
        ({"step": "land", "attempt": 7}, "step land has no attempt 7; it has had 3"),
        ({"step": "audit", "previous": True}, "step audit has had one attempt alone"),
        ({"step": "lost"}, "the pod of step lost, attempt 1, is gone, and its log with it"),
    ],
)
def test_a_log_that_is_not_there(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CliError) as told:
        chosen(**arguments)
    assert str(told.value) == message


FANNED = {"name": "conform", "phase": "Running", "items": {"total": 3}}


def of_item(name: str, item: int, attempt: int = 1) -> Object:
    found = pod(name, attempt, "conform")
    found["metadata"]["labels"]["dataops.dev/item"] = str(item)
    return found


ITEMS = [of_item("c-10", 10), of_item("c-1", 1), of_item("c-1-again", 1, 2), of_item("c-0", 0)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(Wanted("conform"), ["conform[0]", "conform[1]#2", "conform[10]"], id="all items in their order"),
        pytest.param(Wanted("conform", item=1), ["conform[1]#2"], id="one item, its own last attempt"),
        pytest.param(Wanted("conform", item=1, previous=True), ["conform[1]"], id="one item, the attempt before"),
        pytest.param(Wanted(), ["conform[0]", "conform[1]#2", "conform[10]"], id="all of the run"),
    ],
)
def test_the_items_of_a_fan_out(wanted: Wanted, expected: list[str]) -> None:
    assert [one.label for one in choose(sources(ITEMS), a_run(steps=[FANNED]), wanted)] == expected


@pytest.mark.parametrize(
    ("wanted", "row", "message"),
    [
        (Wanted("conform", item=3), FANNED, "step conform has no item 3; it has 3, from 0"),
        (Wanted("conform", item=2, attempt=1), FANNED, "step conform has not begun: it is Running"),
        (Wanted("land", item=0), ROWS[0], "step land has no items"),
    ],
)
def test_the_log_of_an_item_that_is_not_there(wanted: Wanted, row: Object, message: str) -> None:
    with pytest.raises(CliError) as told:
        choose([], a_run(steps=[row]), wanted)
    assert str(told.value) == message


# Masks.


class Holding(Cluster):
    """A cluster that holds these, and refuses those."""

    def __init__(self, *refused: Kind, **held: list[Object]) -> None:
        super().__init__(None, "shop")
        self.refused, self.held = refused, held

    def list(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Object]:
        if kind in self.refused:
            raise CliError("no", status=403)
        assert labels == "dataops.dev/run-uid=u"
        return self.held.get(kind.plural, [])

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        if kind in self.refused:
            raise CliError("no", status=403)
        return next((one for one in self.held.get(kind.plural, []) if one["metadata"]["name"] == name), None)


def secret(**values: str) -> Object:
    return {"data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}}


def job(values: str) -> Object:
    return {"spec": {"template": {"metadata": {"annotations": {"dataops.dev/parameters": values}}}}}


def masked(cluster: Cluster, line: str, **status: Any) -> tuple[str, tuple[str, ...]]:
    mask = of_run(cluster, a_run(**status))
    return mask.apply(line.encode()), mask.gaps


def test_the_values_of_a_runs_secret_are_hidden_however_they_are_written() -> None:
    cluster = Holding(secrets=[secret(password="s3cr3t/+&", key="-----BEGIN-----\nMIIEabcd\n-----END-----\n")])
    line = "s3cr3t/+& s3cr3t%2F%2B%26 x MIIEabcd s3cr"
    assert masked(cluster, line) == ("*** *** x *** s3cr", ())


def test_a_canary_is_hidden_in_every_encoding_that_leaks_are_looked_for_in() -> None:
    mask = Mask(texts([canary("cli")]))
    for encoding, needle in needles(canary("cli")):
        if encoding != "in base64 of base64":
            assert needle.decode() not in mask.apply(b"before " + needle + b" behind"), encoding


def test_masked_parameters_are_hidden_as_the_jobs_have_them() -> None:
    cluster = Holding(jobs=[job('{"token": "abcdef", "day": "2013-02-09"}')])
    status = {"parameters": [{"name": "token", "masked": True}, {"name": "day", "value": "2013-02-09"}]}
    assert masked(cluster, "abcdef on 2013-02-09", **status) == ("*** on 2013-02-09", ())


def test_the_environments_masked_parameters_are_hidden_and_those_of_its_parent() -> None:
    def environment(name: str, **spec: Any) -> Object:
        return {"metadata": {"name": name}, "spec": spec}

    branch = environment("dev", parameters=[{"name": "a", "value": "own-value", "masked": True}], **{"from": "prod"})
    parameters = [{"name": "b", "value": "old-value", "masked": True}, {"name": "c", "value": "plain-value"}]
    cluster = Holding(environments=[branch, environment("prod", parameters=parameters)])
    status = {"environment": "project/dev"}
    assert masked(cluster, "own-value old-value plain-value", **status) == ("*** *** plain-value", ())


@pytest.mark.parametrize(
    ("refused", "status", "gap"),
    [
        (
            SECRETS,
            {"secrets": [{"name": "api"}]},
            "values of secrets are not masked: you may not read Secrets in namespace shop",
        ),
        (
            ENVIRONMENTS,
            {"environment": "project/dev"},
            "masked parameters of environment project/dev are not masked: you may not read it",
        ),
        (
            JOBS,
            {"parameters": [{"name": "other", "masked": True}]},
            "the masked parameter other is not masked here: none of the run's Jobs can be read",
        ),
    ],
)
def test_what_cannot_be_masked_is_said(refused: Kind, status: dict[str, Any], gap: str) -> None:
    assert masked(Holding(refused), "line", **status) == ("line", (gap,))


def test_secrets_that_lie_in_the_pods_memory_cannot_be_masked() -> None:
    _, gaps = masked(Holding(), "line", secrets=[{"name": "api", "version": 3}])
    assert gaps == ("values of secrets are not masked: the run's Secret is gone, or lies in its pods' memory alone",)


def test_who_may_not_read_secrets_is_told_nothing_where_the_run_has_none() -> None:
    assert masked(Holding(SECRETS), "line") == ("line", ())


def test_a_masked_parameter_of_the_run_itself_needs_no_job() -> None:
    status = {"parameters": [{"name": "token", "masked": True}]}
    assert masked(Holding(JOBS), "from-the-spec", **status) == ("***", ())


def test_texts_are_looked_for_the_longest_first_and_none_that_stands_everywhere() -> None:
    found = texts(["abcd", "abcdefgh", "abc", "a\nb\nlonger line"])
    assert list(found) == sorted(found, key=lambda one: (-len(one), one))
    assert {"abcd", "abcdefgh", "longer line"} <= set(found)
    assert not {"abc", "a", "b"} & set(found)
    assert Mask(found).apply(b"abcdefgh \xff") == "*** \ufffd"
