"""What an environment has from the one it branched off: filled up where it says nothing, and never set free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..api.environment import EnvironmentSpec, ImagePolicy, PodDefaults, Quota
from ..api.podtemplate import PodPolicy
from .images import is_within
from .problems import Problem


def loosened(own: EnvironmentSpec, parent: EnvironmentSpec) -> Iterator[Problem]:
    """What a branch may not do: get out of the bounds of the environment whose data it reads."""
    allowed = parent.images.allowed_registries if parent.images else None
    for index, registry in enumerate((own.images.allowed_registries if own.images else None) or ()):
        if allowed is not None and not any(is_within(registry, one) for one in allowed):
            text = f"{registry} is not within what {own.from_!r} allows ({', '.join(allowed)}); remove it"
            yield Problem(f"spec.images.allowedRegistries[{index}]", text)
    for field, listed in _lists(own.pod_policy).items():
        given = _lists(parent.pod_policy).get(field, ())
        for index, one in enumerate(listed):
            if one not in given:
                text = f"{one} is not listed by {own.from_!r}, and its branches allow no more; remove it"
                yield Problem(f"spec.podPolicy.{field}[{index}]", text)
    if parent.restricted and own.vault is not None and own.vault.delivery != "Pod":
        text = f"{own.from_!r} is restricted, and so are its branches: secrets stay out of etcd; set delivery to Pod"
        yield Problem("spec.vault.delivery", text)
    if own.pod_security == "baseline" and parent.pod_security == "restricted":
        text = f"{own.from_!r} enforces restricted, and its branches do no less; remove podSecurity"
        yield Problem("spec.podSecurity", text)


def merged(own: EnvironmentSpec, parent: EnvironmentSpec) -> EnvironmentSpec:
    """A branch's spec, filled up from its parent's; its targets stay its own words, and `targets` derives the rest."""
    parameters = {one.name: one for one in parent.parameters or ()}
    for one in own.parameters or ():
        inherited = parameters.get(one.name)
        hidden = one.masked or (inherited is not None and inherited.masked)
        parameters[one.name] = one.model_copy(update={"masked": hidden})
    said = "pod_security" in own.model_fields_set
    return own.model_copy(
        update={
            "parameters": list(parameters.values()) or None,
            "vault": own.vault or parent.vault,
            "restricted": own.restricted or parent.restricted,
            "pod_defaults": _filled(PodDefaults, own.pod_defaults, parent.pod_defaults),
            "pod_policy": own.pod_policy or parent.pod_policy,
            "images": _tightened(own.images, parent.images),
            "network": own.network or parent.network,
            "quota": _filled(Quota, own.quota, parent.quota),
            "access": own.access or parent.access,
            "pod_security": own.pod_security if said else parent.pod_security,
        }
    )


def _lists(policy: PodPolicy | None) -> dict[str, list[str]]:
    return {} if policy is None else policy.model_dump(by_alias=True, exclude_none=True)


def _filled(kind: type[Any], own: Any, parent: Any) -> Any:
    """One part of a spec, field by field: its own, else the parent's."""
    if own is None or parent is None:
        return own or parent
    given = {name: getattr(own, name) for name in kind.model_fields if getattr(own, name) is not None}
    return parent.model_copy(update=given)


def _tightened(own: ImagePolicy | None, parent: ImagePolicy | None) -> ImagePolicy | None:
    if own is None or parent is None:
        return own or parent
    return ImagePolicy(
        allowed_registries=own.allowed_registries or parent.allowed_registries,
        require_digest=own.require_digest or parent.require_digest,
    )
