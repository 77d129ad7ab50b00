from typing import Any

import orjson
import pytest

from dataops_operator.controllers.indices import cache_keys, cached
from dataops_operator.controllers.kept import TRACKED, slim_definition, slim_environment, slim_job, slim_pod, slim_run
from dataops_operator.controllers.shapes import JOB_SHAPE, POD_SHAPE
from dataops_operator.core.observe import is_indexed_job

META = {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1}


def an_object(status: Any, **spec: Any) -> dict[str, Any]:
    return {"metadata": META, "spec": spec, "status": status}


def test_a_pipelines_status_is_kept_whole() -> None:
    status = {"observedGeneration": 1, "conditions": [{"type": "Ready"}], "steps": 3, "lastRun": "r"}
    assert slim_definition(an_object(status))["status"] == status, "or it would be written again and again"


@pytest.mark.parametrize(
    ("slim", "field"),
    [(slim_run, "steps"), (slim_run, "waitingFor"), (slim_run, "conditions"), (slim_environment, "targets")],
)
@pytest.mark.parametrize("junk", [7, "text", ["text"], {"a": 1}])
def test_a_status_of_another_shape_is_as_if_it_had_been_wiped(slim: Any, field: str, junk: Any) -> None:
    assert slim(an_object({"phase": "Running", field: junk}, pipeline="p"))["status"] == {}


ENDED = [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}]


def test_of_a_run_that_ended_its_clean_up_finds_what_it_needs_and_nothing_else_is_held() -> None:
    status = {"phase": "Succeeded", "revision": "p-1", "environmentRevision": "e-1", "logsDeletedAt": "then"}
    status["concurrencyKey"] = "2013-02-09"  # of a run that does it again
    more = {"steps": [{"name": "a"}], "parameters": [{"name": "day"}], "conditions": ENDED}
    whole = an_object({**status, **more}, pipeline="p", parameters=[{"name": "day"}])
    whole["metadata"] = META | {"labels": {"dataops.dev/keep": "true", "team": "x"}, "annotations": {"a": "b"}}
    slim = slim_run(whole)
    assert slim["metadata"] == META | {"labels": {"dataops.dev/keep": "true"}}
    assert slim["spec"] == {"pipeline": "p"}
    assert slim["status"] == {**status, "conditions": ENDED}


def test_a_run_is_found_by_the_keys_of_its_cached_steps_before_and_after_its_end() -> None:
    steps = [
        {"name": "a", "phase": "Succeeded", "cacheKey": "k1", "finishedAt": "2026-01-05T06:00:00Z"},
        {"name": "b", "phase": "Succeeded", "finishedAt": "2026-01-05T06:00:00Z"},
        {"name": "c", "phase": "Running", "cacheKey": "k3"},
    ]
    live = slim_run(an_object({"phase": "Running", "steps": steps}, pipeline="p"))
    ended = slim_run(an_object({"phase": "Succeeded", "steps": steps, "conditions": ENDED}, pipeline="p"))
    assert "steps" not in ended["status"]
    assert cache_keys(live) == cache_keys(ended) == ("n/k1",)
    assert cached(ended) == {"k1": "2026-01-05T06:00:00Z"}


@pytest.mark.parametrize("fields", [None, [], [{"manager": "argocd-controller"}]])
def test_of_a_run_it_is_known_whether_it_was_applied(fields: Any) -> None:
    kept = slim_run({"metadata": META | {"managedFields": fields}, "spec": {"pipeline": "p"}, "status": {}})
    assert (TRACKED in kept["metadata"]) is bool(fields)
    assert "managedFields" not in kept["metadata"]


def test_many_runs_that_ended_share_what_they_have_in_common() -> None:
    def one(revision: str) -> Any:
        return slim_run(an_object({"revision": revision, "conditions": ENDED}, pipeline="p"))["status"]["revision"]

    assert one("".join(["p-", "1"])) is one("".join(["p", "-1"]))


def an_indexed_job() -> dict[str, Any]:
    status = {"completedIndexes": "0-3,7", "failedIndexes": "4", "active": 2, "startTime": "2026-01-05T06:00:00Z"}
    spec = {"completionMode": "Indexed", "completions": 10, "template": {"spec": {}}}
    return {"metadata": dict(META), "spec": spec, "status": {**status, "conditions": []}}


@pytest.mark.parametrize("watched", [False, True])
def test_of_an_indexed_job_how_many_items_stand_how_is_kept_in_one_size(watched: bool) -> None:
    job = an_indexed_job()
    if watched:
        kind, job = JOB_SHAPE.event(orjson.dumps({"type": "MODIFIED", "object": job}))
        assert kind == "MODIFIED"
    kept = slim_job(job)
    assert kept["status"]["indexes"] == {"total": 10, "active": 2, "succeeded": 5, "failed": 1, "first": [4]}
    assert "spec" not in kept
    assert is_indexed_job(kept)


def test_of_any_other_job_nothing_is_counted() -> None:
    job = {"metadata": dict(META), "spec": {"completions": 1}, "status": {"active": 1}}
    assert slim_job(job)["status"] == {"conditions": []}


def test_which_item_a_job_or_a_pod_is_for_is_kept() -> None:
    labels = {"dataops.dev/run": "r", "dataops.dev/item": "3", "batch.kubernetes.io/job-completion-index": "3"}
    job = {"metadata": META | {"labels": labels | {"other": "x"}}, "spec": {}, "status": {}}
    assert slim_job(job)["metadata"]["labels"] == labels, "ends of items become one reconcile by it"


OWNER = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "name": "j",
    "uid": "uj",
    "controller": True,
    "blockOwnerDeletion": True,
}
NOISE = {
    "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}],
    "annotations": {"a": "b"},
    "generateName": "j-",
}
LABELS = {"dataops.dev/run": "r", "dataops.dev/run-uid": "ur", "dataops.dev/stage": "2", "team": "x"}
A_POD: dict[str, Any] = {
    "metadata": META
    | NOISE
    | {"labels": LABELS, "ownerReferences": [OWNER], "creationTimestamp": "2026-01-05T06:00:00Z"},
    "spec": {"activeDeadlineSeconds": 60, "containers": [{"name": "b", "env": [{"name": "A", "value": "1"}]}]},
    "status": {
        "phase": "Failed",
        "reason": "DeadlineExceeded",
        "message": "too long",
        "startTime": "2026-01-05T06:00:00Z",
        "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "x"},
            {"type": "Ready", "status": "False"},
        ],
        "initContainerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0}}, "imageID": "i@sha256:1"}],
        "containerStatuses": [{"name": "b", "state": {"terminated": {"exitCode": 7, "message": "m"}}, "imageID": "i"}],
        "podIP": "10.0.0.1",
    },
}
A_JOB: dict[str, Any] = {
    "metadata": META
    | NOISE
    | {"labels": LABELS, "ownerReferences": [OWNER], "deletionTimestamp": "2026-01-05T07:00:00Z"},
    "spec": {"completionMode": "NonIndexed", "completions": 1, "template": {"spec": {"containers": []}}},
    "status": {
        "startTime": "2026-01-05T06:00:00Z",
        "active": 0,
        "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}],
    },
}


@pytest.mark.parametrize(
    ("shape", "slim", "item"),
    [(POD_SHAPE, slim_pod, A_POD), (JOB_SHAPE, slim_job, A_JOB), (JOB_SHAPE, slim_job, an_indexed_job())],
    ids=["pod", "job", "indexed job"],
)
def test_a_list_and_a_watch_read_all_that_is_kept(shape: Any, slim: Any, item: dict[str, Any]) -> None:
    kept = slim(item)
    kept["metadata"].pop("generation")  # which nobody asks of a Job or a pod
    meta = {"resourceVersion": "9", "continue": "more", "remainingItemCount": 3}
    page = shape.page(orjson.dumps({"kind": "List", "metadata": meta, "items": [item, item]}))
    assert [slim(one) for one in page["items"]] == [kept, kept]
    assert page["metadata"] == {"resourceVersion": "9", "continue": "more"}
    _, one = shape.event(orjson.dumps({"type": "ADDED", "object": item}))
    assert slim(one) == kept
    last = shape.page(orjson.dumps({"metadata": {"resourceVersion": "9"}, "items": []}))
    assert not last["metadata"].get("continue")
