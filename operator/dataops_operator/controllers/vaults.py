"""What arming and the keeper ask of Vault, whoever answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..api.conditions import Reason
from ..api.secret import VaultSource
from ..core.secrets import Fetched


class VaultError(Exception):
    """Vault did not do what was asked, and may later."""


class Denied(VaultError):  # noqa: N818 - a word for what happened
    """Vault would not do it later either.

    Attributes:
        reason: out of the closed list.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Gone(VaultError):  # noqa: N818
    """What was to be renewed or revoked is not there any more."""


class Login(Protocol):
    """What a login gave."""

    @property
    def accessor(self) -> str:
        """By which the token is renewed and revoked."""

    @property
    def token(self) -> str:
        """The token; never shown."""

    @property
    def ttl(self) -> float:
        """Its life, seconds."""

    @property
    def renewable(self) -> bool:
        """Whether it can be renewed."""


class Vaults(Protocol):
    """The servers that the administrator defined, by name. All calls raise VaultError."""

    def knows(self, server: str) -> bool:
        """Whether there is a server of that name."""

    def audience(self, server: str) -> str:
        """Whom a token must be for to log in there."""

    def agent(self, server: str) -> Mapping[str, Any]:
        """Where and how a pod logs in by itself, as `vault.agent` reads it."""

    async def login(self, server: str, role: str, jwt: str) -> Login:
        """Log in as the run."""

    async def read(self, server: str, token: str, source: VaultSource) -> Fetched:
        """Read one source as the run."""

    async def renew_accessor(self, server: str, accessor: str) -> float:
        """Renew a token; its new life in seconds."""

    async def renew_lease(self, server: str, lease_id: str, seconds: float) -> float:
        """Renew a lease by so many seconds; its new life in seconds."""

    async def revoke_accessor(self, server: str, accessor: str) -> None:
        """Take a token back, with what it leased."""

    async def revoke_lease(self, server: str, lease_id: str) -> None:
        """Take a lease back, and know that it is."""
