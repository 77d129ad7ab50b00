"""How the proxy reads a request: what is a write, a watch, a list, and of which kind."""

from __future__ import annotations

import pytest
from tests.harness.proxy import Call
from tests.harness.vaultproxy import Request


@pytest.mark.parametrize(
    ("path", "plural"),
    [
        ("/api/v1/namespaces/ns/pods/x", "pods"),
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces/ns", "namespaces"),
        ("/api/v1/namespaces", "namespaces"),
        ("/apis/batch/v1/namespaces/ns/jobs", "jobs"),
        ("/apis/dataops.dev/v1alpha1/namespaces/ns/pipelineruns/r/status", "pipelineruns"),
        ("/apis/coordination.k8s.io/v1/namespaces/ns/leases/l", "leases"),
        ("/apis", ""),
    ],
)
def test_the_kind_is_read_from_the_path(path: str, plural: str) -> None:
    assert Call("GET", path, "", b"").plural == plural


def test_lists_gets_and_watches_are_told_apart() -> None:
    jobs = "/apis/batch/v1/namespaces/ns/jobs"
    assert Call("GET", jobs, "labelSelector=a", b"").is_list
    assert not Call("GET", jobs, "watch=true", b"").is_list
    assert Call("GET", jobs, "labelSelector=a&watch=true", b"").is_watch
    assert not Call("GET", jobs + "/j", "", b"").is_list


def test_a_call_names_itself_for_a_failing_test() -> None:
    call = Call("PATCH", "/apis/dataops.dev/v1alpha1/namespaces/ns/pipelineruns/r/status", "", b"", 5, 200)
    assert str(call) == "write 5: PATCH pipelineruns/r/status -> 200"


def test_a_request_to_vault_names_itself_and_is_never_taken_for_a_watch() -> None:
    request = Request("GET", "/v1/secret/data/api", "version=1&watch=true", b"", 2, 403)
    assert str(request) == "request 2: GET secret/data/api -> 403"
    assert not request.is_watch
