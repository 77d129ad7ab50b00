import pytest

from dataops_operator.kube import resources


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (resources.PODS.path(), "/api/v1/pods"),
        (resources.JOBS.path("a"), "/apis/batch/v1/namespaces/a/jobs"),
        (
            resources.PIPELINE_RUNS.path("a", "r", "status"),
            "/apis/dataops.dev/v1alpha1/namespaces/a/pipelineruns/r/status",
        ),
        (resources.Resource("", "v1", "nodes", "Node", namespaced=False).path(None, "n"), "/api/v1/nodes/n"),
    ],
)
def test_paths(path: str, wanted: str) -> None:
    assert path == wanted


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        resources.JOBS.path("a", name)
    with pytest.raises(ValueError, match="is not a namespace"):
        resources.JOBS.path(name, "x")


def test_a_name_with_a_slash_stays_one_segment() -> None:
    assert resources.JOBS.path("a", "../../secrets/x?y").endswith("/jobs/..%2F..%2Fsecrets%2Fx%3Fy")


def test_a_namespaced_object_needs_its_namespace() -> None:
    with pytest.raises(ValueError, match="needs a namespace"):
        resources.JOBS.path(None, "x")
