"""What can go wrong with Vault, in our own words.

What a server answers to a request that it refuses may carry what was asked for, so it is never passed on: a message
has the server's name, the HTTP status, and what to do.
"""

from __future__ import annotations

from typing import ClassVar

from ..api.conditions import Reason


class VaultError(Exception):
    """A request to Vault that did not succeed.

    Attributes:
        reason: out of the closed list.
        final: whether trying again could not help.
        code: HTTP status; 0 where no answer came.
    """

    reason: ClassVar[Reason] = Reason.VAULT
    final: ClassVar[bool] = True

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """It cannot be reached, is sealed, is overloaded, or has failed by itself: later may be better."""

    reason = Reason.VAULT_UNAVAILABLE
    final = False


class Forbidden(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The token may not do that."""

    reason = Reason.VAULT_FORBIDDEN


class LoginFailed(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The login was refused."""

    reason = Reason.VAULT_LOGIN_FAILED


class NotFound(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """Nothing is at that path, or not that version."""

    reason = Reason.SECRET_NOT_FOUND


class Invalid(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The request makes no sense there, or the answer is none that can be used."""

    reason = Reason.SECRET_INVALID


class TooLarge(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The answer is longer than any secret."""

    reason = Reason.SECRET_TOO_LARGE


class NotConfigured(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The administrator has defined no such server."""

    reason = Reason.VAULT_NOT_CONFIGURED


class Gone(VaultError):  # noqa: N818 - the fact, as HTTP has it
    """The token or lease is there no more: it has ended, or was revoked."""
