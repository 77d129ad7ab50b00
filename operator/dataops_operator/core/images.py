"""Which images may run: references read as container runtimes read them, and held against an environment's policy.

The grammar and the shorthands of Docker Hub are those of github.com/distribution/reference (`reference.go`,
`normalize.go`): whoever compares text instead takes `ghcr.io.evil/x` for `ghcr.io`, or `ghcr.io/acme-evil` for
`ghcr.io/acme`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..api.environment import ImagePolicy

DOCKER_HUB: Final = "docker.io"
_OLD_HUB: Final = "index.docker.io"
_NAME_LIMIT: Final = 255

_LABEL: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}


class ImageError(ValueError):
    """An image may not run here."""


class NoImageError(ImageError):
    """What is given as an image is none."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image reference.

    Attributes:
        parts: the registry, with its port, then the parts of the path.
        tag: None where there is none.
        digest: None where there is none.
    """

    parts: tuple[str, ...]
    tag: str | None = None
    digest: str | None = None


def parse_image(text: str) -> Image:
    """An image reference, with the registry that is meant where none is written.

    Raises:
        NoImageError: it is none.
    """
    name, at, digest = text.partition("@")
    if at and not _is_digest(digest):
        raise NoImageError(f"{text!r} has no digest behind the '@'; write name@sha256:<64 hexadecimal digits>")
    slash = name.rfind("/")
    colon = name.find(":", slash + 1)
    tag = name[colon + 1 :] if colon >= 0 else None
    name = name[:colon] if colon >= 0 else name
    parts = _split(name)
    if (
        len(name) > _NAME_LIMIT
        or not _DOMAIN.fullmatch(parts[0])
        or len(parts) < 2
        or not all(_PART.fullmatch(part) for part in parts[1:])
        or (tag is not None and not _TAG.fullmatch(tag))
    ):
        raise NoImageError(f"{text!r} is no image reference; write it as registry/path:tag or registry/path@sha256:...")
    return Image((parts[0].lower(), *parts[1:]), tag, digest or None)


def _is_digest(digest: str) -> bool:
    algorithm, _, value = digest.partition(":")
    if (length := _LENGTHS.get(algorithm)) is not None:
        return re.fullmatch(rf"[0-9a-f]{{{length}}}", value) is not None
    return _DIGEST.fullmatch(digest) is not None


def _split(name: str) -> tuple[str, ...]:
    """Registry and path: the first part is a registry only where it looks like a host (`splitDockerDomain`)."""
    first, slash, rest = name.partition("/")
    is_host = slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower())
    registry, path = (first, rest) if is_host else (DOCKER_HUB, name)
    if registry.lower() == _OLD_HUB:
        registry = DOCKER_HUB
    if registry.lower() == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return registry, *path.split("/")


def _allowed(text: str) -> tuple[str, ...]:
    """The parts with which an allowed image begins: of a registry, or of a path in one."""
    first, slash, rest = text.rstrip("/").partition("/")
    if not slash and (any(mark in first for mark in ".:") or first == "localhost"):
        return (DOCKER_HUB if first == _OLD_HUB else first,)
    if any(mark in first for mark in ".:") or first == "localhost":
        return (DOCKER_HUB if first == _OLD_HUB else first, *rest.split("/"))
    return (DOCKER_HUB, *text.rstrip("/").split("/"))


def check_image(policy: ImagePolicy | None, text: str) -> None:
    """Hold an image against an environment's policy.

    Args:
        policy: None lets every image run that is one.
        text: the reference, its templates filled in.

    Raises:
        ImageError: it may not run; the message says why and what may.
    """
    image = parse_image(text)
    if policy is None:
        return
    if policy.allowed_registries is not None:
        allowed = [_allowed(one) for one in policy.allowed_registries]
        if not any(image.parts[: len(parts)] == parts and len(image.parts) > len(parts) for parts in allowed):
            names = ", ".join(policy.allowed_registries)
            raise ImageError(f"image {text!r} is in {'/'.join(image.parts[:-1])}; allowed here: {names}")
    if policy.require_digest and image.digest is None:
        raise ImageError(f"image {text!r} is not named by digest; write {text.partition('@')[0]}@sha256:...")


def is_within(registry: str, outer: str) -> bool:
    """Whether a registry, or a path in one, lies in another: ghcr.io/acme-evil does not lie in ghcr.io/acme."""
    inner, bounds = _allowed(registry), _allowed(outer)
    return inner[: len(bounds)] == bounds
