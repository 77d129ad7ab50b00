"""To which environment a namespace belongs, and what keeps runs out of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dataops_operator.api.conditions import Reason
from dataops_operator.controllers.tenancy import PARTS, Home, NotYet, Tenancy
from dataops_operator.controllers.world import Settings, World
from dataops_operator.kube.queue import WorkQueue
from dataops_operator.metrics.registry import Metrics

Object = dict[str, Any]
GOOD = [{"type": str(part), "status": "True", "reason": "Provisioned", "message": ""} for part in PARTS]
VERSIONS = iter(range(1, 10_000))


def environment(
    key: str,
    wants: str = "",
    holds: str = "",
    *,
    conditions: list[Object] | None = None,
    at: int = 0,
    deleting: bool = False,
    targets: list[Object] | None = None,
    **spec: Any,
) -> Object:
    """An Environment `<project>/<name>` that asks for a namespace and, by its status, holds one."""
    project, _, name = key.partition("/")
    meta = {
        "namespace": project,
        "name": name,
        "uid": f"uid-{key}",
        "generation": 1,
        "resourceVersion": str(next(VERSIONS)),
        "creationTimestamp": f"2026-01-05T06:00:{at:02d}Z",
    }
    if deleting:
        meta["deletionTimestamp"] = "2026-01-05T07:00:00Z"
    body = spec | ({"namespace": wants} if wants else {})
    status = {"namespace": holds} if holds else {}
    stands = {"conditions": GOOD if conditions is None and holds else conditions or [], "targets": targets or []}
    return {"metadata": meta, "spec": body, "status": status | stands}


def said(type_: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message, "observedGeneration": 1}


def tenancy(*environments: Object) -> Tenancy:
    nobody = cast(Any, None)
    world = World(nobody, Settings(), Metrics(), nobody, WorkQueue())
    for one in environments:
        world.environments.put(one)
    return Tenancy(world)


HOLDS = environment("analytics/prod", "analytics-prod", "analytics-prod")


def test_a_namespace_belongs_to_the_environment_that_holds_it() -> None:
    home = tenancy(HOLDS).of("analytics-prod")
    assert isinstance(home, Home)
    assert (home.effective.key, home.effective.execution) == ("analytics/prod", "analytics-prod")


def test_a_project_namespace_belongs_to_its_own_environment() -> None:
    home = tenancy(environment("analytics/dev", holds="analytics")).of("analytics")
    assert isinstance(home, Home)
    assert home.effective.project == "analytics"


def test_of_two_that_say_they_hold_one_namespace_the_older_does() -> None:
    home = tenancy(
        environment("b/late", "shared", "shared", at=5), environment("a/early", "shared", "shared", at=4)
    ).of("shared")
    assert isinstance(home, Home)
    assert home.effective.key == "a/early"


@pytest.mark.parametrize(
    "others",
    [
        [],
        [HOLDS],
        [environment("evil/e", "team", conditions=[said("NamespaceReady", "False", "NamespaceNotAllowed")])],
        [environment("evil/e", "team", conditions=[said("NamespaceReady", "False", "NamespaceTaken")])],
        [environment("evil/e", "team", conditions=[said("Stalled", "True", "EnvironmentInvalid")])],
        [environment("evil/e", "team", deleting=True)],
        [environment("team/gone", deleting=True)],
        [environment("team/second", conditions=[said("NamespaceReady", "False", "NamespaceTaken")])],
    ],
    ids=[
        "no environments",
        "that of another namespace",
        "another project's that was told no",
        "another project's that came too late",
        "another project's that cannot stand",
        "another project's that is being deleted",
        "its own that never held it and is being deleted",
        "its own second one",
    ],
)
def test_a_namespace_belongs_to_none(others: list[Object]) -> None:
    assert tenancy(*others).of("team") is None


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (environment("analytics/prod", "team"), "environment analytics/prod does not hold namespace team yet"),
        (environment("team/dev"), "environment team/dev does not hold namespace team yet"),
        (
            environment("team/dev", conditions=[said("NamespaceReady", "Unknown", "Provisioning", "making it")]),
            "environment team/dev does not hold namespace team yet: making it",
        ),
        (
            environment("team/dev", conditions=[said("Stalled", "True", "EnvironmentInvalid")]),
            "environment team/dev does not hold namespace team yet",
        ),
    ],
    ids=["one that asks for it", "its own", "its own, under way", "its own that cannot stand: nothing runs unbounded"],
)
def test_runs_wait_a_while_for_an_environment_that_has_not_been_judged(claim: Object, words: str) -> None:
    found = tenancy(claim).of("team")
    assert isinstance(found, NotYet)
    assert (found.reason, found.bounded, found.final) == (Reason.ENVIRONMENT_NOT_READY, True, False)
    assert found.message == words


def test_a_spec_captures_no_namespace_that_another_holds() -> None:
    found = tenancy(HOLDS, environment("evil/e", "analytics-prod", at=-0)).of("analytics-prod")
    assert isinstance(found, Home)
    assert found.effective.key == "analytics/prod"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("status", ["False", "Unknown", None])
def test_nothing_begins_before_every_part_stands(part: str, status: str | None) -> None:
    conditions = [one for one in GOOD if one["type"] != part]
    if status is not None:
        conditions.append(said(str(part), status, "Provisioning", "because"))
    found = tenancy(environment("a/e", "x", "x", conditions=conditions)).of("x")
    assert isinstance(found, NotYet)
    assert (found.reason, found.bounded, found.final) == (Reason.ENVIRONMENT_NOT_READY, False, False)
    assert found.message == f"environment a/e is not ready ({part})" + (": because" if status else "")


def test_one_that_is_being_deleted_takes_no_more_runs() -> None:
    found = tenancy(environment("a/e", "x", "x", deleting=True)).of("x")
    assert isinstance(found, NotYet)
    assert (found.reason, found.final) == (Reason.ENVIRONMENT_DELETED, True)


def test_one_that_is_not_valid_says_why() -> None:
    found = tenancy(environment("a/e", "x", "x") | {"spec": {"namespace": "x", "from": "gone"}}).of("x")
    assert isinstance(found, NotYet)
    assert (found.reason, found.final) == (Reason.ENVIRONMENT_INVALID, False)
    assert "spec.from" in found.message


READY = said("TargetsReady", "True", "Provisioned")
NOT_READY = said("TargetsReady", "False", "TargetUnreachable", "lake does not answer")
STALE = READY | {"observedGeneration": 0}


@pytest.mark.parametrize(
    ("conditions", "targets", "reason"),
    [
        ([READY], [], None),
        ([NOT_READY], [{"name": "lake", "reachable": "True"}], None),
        ([NOT_READY], [{"name": "lake", "reachable": "False"}], Reason.TARGET_UNREACHABLE),
        ([NOT_READY], [{"name": "other", "reachable": "False"}], Reason.ENVIRONMENT_NOT_READY),
        ([STALE], [], Reason.ENVIRONMENT_NOT_READY),
        ([], [], Reason.ENVIRONMENT_NOT_READY),
    ],
    ids=[
        "all stand",
        "others do not",
        "it does not answer",
        "it was never probed",
        "they stood before an edit",
        "nobody has said",
    ],
)
def test_a_run_waits_for_the_targets_that_it_names(
    conditions: list[Object], targets: list[Object], reason: Reason | None
) -> None:
    lake = {"name": "lake", "s3": {"endpoint": "https://s3.example", "bucket": "lake"}}
    here = tenancy(
        environment("a/e", "x", "x", conditions=[*GOOD, *conditions], targets=targets)
        | {"spec": {"namespace": "x", "targets": [lake]}}
    )
    home = here.of("x")
    assert isinstance(home, Home)
    found = here.target_not_ready(home, "lake")
    assert (found.reason if found else None) == reason
