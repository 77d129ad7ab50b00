import pytest

from dataops_operator.api.environment import ImagePolicy
from dataops_operator.core.images import Image, ImageError, check_image, parse_image

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("busybox", Image(("docker.io", "library", "busybox"))),
        ("busybox:1.36", Image(("docker.io", "library", "busybox"), "1.36")),
        ("acme/step", Image(("docker.io", "acme", "step"))),
        ("docker.io/busybox", Image(("docker.io", "library", "busybox"))),
        ("index.docker.io/acme/step", Image(("docker.io", "acme", "step"))),
        ("ghcr.io/acme/step:1", Image(("ghcr.io", "acme", "step"), "1")),
        ("GHCR.io/acme/step", Image(("ghcr.io", "acme", "step"))),
        ("localhost/step", Image(("localhost", "step"))),
        ("localhost:5000/step:dev", Image(("localhost:5000", "step"), "dev")),
        ("registry:5000/a/b", Image(("registry:5000", "a", "b"))),
        (f"ghcr.io/acme/step:1@{SHA}", Image(("ghcr.io", "acme", "step"), "1", SHA)),
        (f"step@{SHA}", Image(("docker.io", "library", "step"), None, SHA)),
        ("[2001:db8::1]:5000/step", Image(("[2001:db8::1]:5000", "step"))),
        # The name before a port-like tag is a path of Docker Hub: there is no '/' behind it.
        ("ghcr.io:443", Image(("docker.io", "library", "ghcr.io"), "443")),
    ],
)
def test_an_image_is_read_as_a_container_runtime_reads_it(text: str, image: Image) -> None:
    assert parse_image(text) == image


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/step",
        "ghcr.io//step",
        "ghcr.io/acme/",
        "ghcr.io/Acme/step",
        "ghcr.io/acme/step:",
        "ghcr.io/acme/step:-1",
        "ghcr.io/acme/../step",
        "ghcr.io/acme/./step",
        "ghcr.io/acme/step@",
        "ghcr.io/acme/step@sha256:abc",
        "ghcr.io/acme/step@sha256:" + "A" * 64,
        "ghcr.io/acme/step@" + SHA + "@" + SHA,
        "https://ghcr.io/acme/step",
        "user@ghcr.io/acme/step",
        "ghcr.io/acme/step 1",
        "ghcr.io/acme/step\n",
        "ghcr.io%2facme/step",
        "-ghcr.io/step",
        "a" * 300,
    ],
)
def test_what_is_no_image_is_told_so(text: str) -> None:
    with pytest.raises(ImageError):
        parse_image(text)


ACME = ["ghcr.io/acme"]


@pytest.mark.parametrize(
    ("allowed", "text", "fits"),
    [
        (ACME, "ghcr.io/acme/step:1", True),
        (ACME, "ghcr.io/acme/deep/step", True),
        (ACME, "ghcr.io/acme-evil/step", False),
        (ACME, "ghcr.io/acmestep", False),
        (ACME, "ghcr.io/acme", False),
        (ACME, "ghcr.io.evil/acme/step", False),
        (ACME, "ghcr.io.evil.example/acme/step", False),
        (ACME, "evil.example/ghcr.io/acme/step", False),
        (ACME, "ghcr.io:8443/acme/step", False),
        (ACME, "acme/step", False),
        (ACME, "ghcr.io/other/step", False),
        (["ghcr.io"], "ghcr.io/any/step", True),
        (["ghcr.io"], "ghcr.io.evil/any/step", False),
        (["ghcr.io"], "ghcr.io/step", True),
        (["docker.io"], "busybox", True),
        (["docker.io"], "acme/step", True),
        (["docker.io/library"], "busybox", True),
        (["docker.io/library"], "acme/step", False),
        (["index.docker.io/acme"], "docker.io/acme/step", True),
        (["acme"], "acme/step", True),
        (["acme"], "acme.example/step", False),
        (["acme/team"], "docker.io/acme/team/step", True),
        (["localhost:5000"], "localhost:5000/step", True),
        (["localhost:5000"], "localhost/step", False),
        (["localhost"], "localhost/step", True),
        (["ghcr.io/acme/"], "ghcr.io/acme/step", True),
        (["quay.io", "ghcr.io/acme"], "ghcr.io/acme/step", True),
    ],
)
def test_a_registry_is_compared_part_by_part(allowed: list[str], text: str, fits: bool) -> None:
    policy = ImagePolicy(allowed_registries=allowed)
    if fits:
        check_image(policy, text)
    else:
        with pytest.raises(ImageError, match="allowed here: "):
            check_image(policy, text)


@pytest.mark.parametrize(("text", "fits"), [(f"step:1@{SHA}", True), (f"step@{SHA}", True), ("step:1", False)])
def test_a_digest_may_be_required(text: str, fits: bool) -> None:
    policy = ImagePolicy(require_digest=True)
    if fits:
        check_image(policy, text)
    else:
        with pytest.raises(ImageError, match="write step:1@sha256:"):
            check_image(policy, text)


def test_without_a_policy_everything_runs_that_is_an_image() -> None:
    with pytest.raises(ImageError, match="'NOT an image' is no image reference"):
        check_image(None, "NOT an image")
    check_image(None, "busybox")
    check_image(ImagePolicy(), "busybox")
