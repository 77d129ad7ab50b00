"""What of an environment lies outside the API server, as the Environment controller meets it; and where none of it is.

Looking into Vault or a target takes longer than a reconcile may. So a probe answers at once with what is known, does
what is missing in the background, and has the environment looked at again when it knows more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..api.conditions import Reason
from ..core.credentials import Armed, Hindrance, Order
from ..core.environment import Effective
from ..core.environment_status import Part
from ..core.provision import Place
from .keys import Key
from .world import Object


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a part came to.

    Attributes:
        part: for the condition.
        retry: seconds until it is worth asking again; None where news of it come by themselves.
        rows: rows of status.targets, where the part is the targets.
    """

    part: Part
    retry: float | None = None
    rows: tuple[Mapping[str, Any], ...] = ()


class Probe(Protocol):
    """Looks into a part outside the API server: the login at Vault, the targets."""

    async def part(self, environment: Object, content: Effective, place: Place) -> Verdict:
        """What is known of it now; what is not is on its way, and the environment is looked at again then."""

    async def release(self, environment: Object, place: Place) -> str:
        """Take back what was made there, or go on with that; what is still there, for people, empty once nothing is."""

    def forget(self, uid: str) -> None:
        """Let go of what is known of an environment that is gone."""


class NoServers:
    """An operator that was given no Vault servers."""

    async def part(self, environment: Object, content: Effective, place: Place) -> Verdict:  # noqa: ARG002 - as a Probe
        """An environment that asks for one waits for its administrator."""
        if content.vault is None:
            return Verdict(Part(True, Reason.NOT_USED, "no secrets are asked for"))
        text = (
            f"spec.vault.server: the operator's administrator defined no Vault server {content.vault.server!r}; "
            "have it added to vault.servers of the chart, or remove spec.vault"
        )
        return Verdict(Part(False, Reason.VAULT_NOT_CONFIGURED, text, stalled=True))

    async def release(self, environment: Object, place: Place) -> str:  # noqa: ARG002 - as a Probe
        """Nothing is held."""
        return ""

    def forget(self, uid: str) -> None:
        """Nothing is known."""


class NoLogins:
    """Stands where nobody gets credentials for the Jobs that touch targets."""

    def ask(self, wanted: Order, _key: Key) -> Armed | Hindrance | None:
        """There is nobody to ask."""
        text = f"environment {wanted.environment}: the operator's administrator defined no Vault servers"
        return Hindrance(Reason.VAULT_NOT_CONFIGURED, text, final=True)

    def release(self, uid: str) -> None:
        """There is nothing to take back."""


class NoStorage:
    """An operator that was given no image for Jobs that touch targets."""

    async def part(self, environment: Object, content: Effective, place: Place) -> Verdict:  # noqa: ARG002 - as a Probe
        """Targets count as they are written; a place that had to be made cannot be."""
        if not content.targets:
            return Verdict(Part(True, Reason.NOT_USED, "no targets are named"))
        rows = tuple(row_of(target.name, target.kind, target.attributes) for target in content.targets.values())
        outside = sorted(one.name for one in content.targets.values() if one.made_by_us and one.claim is None)
        if outside:
            text = f"the operator was given no storage image, so it cannot make the places of {', '.join(outside)}"
            return Verdict(Part(False, Reason.TARGET_UNREACHABLE, text, stalled=True), rows=rows)
        text = "not looked into, since the operator was given no storage image"
        return Verdict(Part(True, Reason.PROVISIONED, text), rows=rows)

    async def release(self, environment: Object, place: Place) -> str:  # noqa: ARG002 - as a Probe
        """Nothing was made."""
        return ""

    def forget(self, uid: str) -> None:
        """Nothing is known."""


def row_of(name: str, kind: str, attributes: Mapping[str, str], reachable: str = "Unknown") -> dict[str, Any]:
    """A row of status.targets."""
    row = {"name": name, "kind": kind, "url": attributes["url"], "reachable": reachable}
    return row | ({"readUrl": attributes["readUrl"]} if attributes["readUrl"] != attributes["url"] else {})
