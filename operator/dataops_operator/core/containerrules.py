"""What is wrong with the image and the resources of a container, such that no pod of its step could ever begin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from ..api.step import Resources
from .images import ImageError, parse_image
from .problems import Problem
from .quantities import QUANTITY, parse_quantity
from .templating import references

_STANDARD: Final = ("cpu", "memory", "ephemeral-storage")
_BYTES: Final = ("memory", "ephemeral-storage")
_PARTS: Final = ("n", "u", "m")
_PAGES: Final = "hugepages-"


def image_problems(path: str, text: str) -> Iterator[Problem]:
    """An image that no registry can have; what templates make of it is known to the run alone."""
    if not list(references(text)):
        try:
            parse_image(text)
        except ImageError as error:
            yield Problem(path, str(error))
    elif any(character.isspace() for character in text):
        yield Problem(path, f"{text!r} has a blank in it, as no image reference does; remove it")


def resource_problems(path: str, resources: Resources | None) -> Iterator[Problem]:
    """Compute resources as Kubernetes reads them (pkg/apis/core/validation, "validateContainerResourceName")."""
    if resources is None:
        return
    read: dict[str, dict[str, Decimal]] = {"requests": {}, "limits": {}}
    for field, given in (("requests", resources.requests), ("limits", resources.limits)):
        for name, value in (given or {}).items():
            where = _at(f"{path}.{field}", name)
            if not QUANTITY.fullmatch(str(value)):
                cure = "write a number with a unit Kubernetes knows, such as 500m or 1Gi"
                yield Problem(where, f"{value!r} is not a quantity; {cure}")
                continue
            read[field][name] = parse_quantity(value)
            yield from _resource(where, name, value, read[field][name])
    yield from _together(path, resources, read)


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if name.replace("-", "").isalnum() else f"{path}[{name}]"


def _resource(where: str, name: str, value: str | int, number: Decimal) -> Iterator[Problem]:
    if name not in _STANDARD and not name.startswith(_PAGES) and "/" not in name:
        cure = f"give {', '.join(_STANDARD)}, hugepages-<size>, or one with its domain, such as nvidia.com/gpu"
        yield Problem(where, f"{name!r} is no resource of a container; {cure}")
    elif _is_counted(name) and number != number.to_integral_value():
        yield Problem(where, f"{value!r} is no whole number, in which {name} is counted; write one")
    elif name in _BYTES and str(value)[-1:] in _PARTS and number != number.to_integral_value():
        cure = f"m is a thousandth; write {str(value)[:-1]}Mi for mebibytes"
        yield Problem(where, f"{value!r} is in parts of a byte: {cure}")


def _is_counted(name: str) -> bool:
    """Whether a resource is had whole and by one alone (pkg/apis/core/v1/helper, "IsOvercommitAllowed")."""
    return name not in _STANDARD and "kubernetes.io/" not in name


def _together(path: str, resources: Resources, read: Mapping[str, Mapping[str, Decimal]]) -> Iterator[Problem]:
    """A request beyond its limit, or of what cannot be shared without one as large."""
    limits, told = read["limits"], resources.limits or {}
    for name, number in read["requests"].items():
        value, where = (resources.requests or {})[name], _at(f"{path}.requests", name)
        if name in limits and number > limits[name]:
            yield Problem(where, f"{value!r} is more than its limit of {told[name]!r}; lower it, or raise the limit")
        elif _is_counted(name) and name not in told:
            yield Problem(where, f"{name} needs a limit, too, of as much; add it to {path}.limits")
        elif _is_counted(name) and number != limits.get(name, number):
            yield Problem(where, f"{value!r} of {name} is not its limit of {told[name]!r}; make both the same")
