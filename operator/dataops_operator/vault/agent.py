"""What a pod runs to get its own secrets: `python3 -m dataops_operator.vault.agent`.

It logs in with the token that Kubernetes projects into the pod, writes files into memory, and says in its termination
message what must be taken back later: an accessor, lease ids, versions, and no value. The accessor stands there from
the moment of the login on, so that it is known however the process ends. One that cannot do its work revokes what it
got and ends with 1 and `{"reason": ..., "message": ...}`.

What it reads is described in `core/delivery.py`, which writes it.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import orjson
from pydantic import ValidationError

from ..api.conditions import Reason, truncate
from ..api.secret import Credentials
from ..core.secrets import CredentialError, Fetched, check_source, check_total, render
from .client import Client, Login
from .errors import Unavailable, VaultError
from .reader import fetch
from .servers import ServersError, parse_server

MESSAGE_LIMIT: Final = 4096
"""Bytes of a termination message that the kubelet reads."""
MOST_LEASES: Final = 24
"""Leases that a message names; what it leaves out goes with its token."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
"""Seconds between two tries while Vault is not available."""

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,100}[a-z0-9])?", re.ASCII)
_T = TypeVar("_T")


class Description:
    """What to do, as it lies beside the pod.

    Raises:
        ValueError: it is none; the message carries nothing of it.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        try:
            self.server = parse_server(raw["server"])
            self.role = str(raw["role"])
            self.token = Path(raw["token"])
            self.directory = Path(raw["directory"])
            self.wait = float(raw.get("waitSeconds") or 0)
            self.secrets: dict[str, Credentials] = {}
            for one in raw["secrets"]:
                name = str(one["name"])
                if not _NAME.fullmatch(name) or name in self.secrets:
                    raise ValueError("name")
                given = {key: value for key, value in one.items() if key != "name"}
                self.secrets[name] = Credentials.model_validate(given)
                check_source(name, self.secrets[name].vault)
        except (KeyError, TypeError, ValueError, ServersError, ValidationError) as error:
            raise ValueError(
                f"what the pod was told to read is not to be understood ({type(error).__name__})"
            ) from None


class Agent:
    """One login and its reads.

    Args:
        description: what to do.
        tell: takes what the termination message is to be.
    """

    def __init__(self, description: Description, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self._what = description
        self._tell = tell
        self._client = Client(description.server)
        self._login: Login | None = None
        self._until = time.monotonic() + description.wait

    def run(self) -> None:
        """Log in, read all, write all.

        Raises:
            VaultError: Vault does not give it.
            CredentialError: what it gives cannot be delivered as it was asked for.
            OSError: the token cannot be read, or a file not be written.
        """
        jwt = self._what.token.read_text(encoding="ascii").strip()
        self._login = login = self._insist(lambda: self._client.login(self._what.role, jwt))
        self._tell(self._grant())
        fetched: dict[str, Fetched] = {}
        for name, one in self._what.secrets.items():
            try:
                fetched[name] = self._insist(lambda one=one: fetch(self._client, login.token, one.vault))  # type: ignore[misc]
            except VaultError as error:
                raise type(error)(f"secret {name}: {error}", error.code) from None
        files = {name: render(name, one, fetched[name].values) for name, one in self._what.secrets.items()}
        check_total(files)
        for name, contents in files.items():
            write(self._what.directory / name, contents)
        self._tell(self._grant() | _told(fetched))

    def give_back(self) -> None:
        """Revoke what was got; its own end is what is left where that fails."""
        if self._login is not None:
            with contextlib.suppress(VaultError):
                self._client.revoke_self(self._login.token)

    def accessor(self) -> dict[str, Any]:
        """The accessor, where there was a login."""
        return {"accessor": self._login.accessor} if self._login else {}

    def _grant(self) -> dict[str, Any]:
        login = self._login
        assert login is not None  # noqa: S101 - called after it
        return {"accessor": login.accessor, "ttl": round(login.ttl), "renewable": login.renewable}

    def _insist(self, ask: Callable[[], _T]) -> _T:
        """Ask until Vault is available, or the time for that is over."""
        pause = FIRST_PAUSE
        while True:
            try:
                return ask()
            except Unavailable as error:
                left = self._until - time.monotonic()
                if left <= 0:
                    raise
                print(f"{error}; trying again for {left:.0f} s", file=sys.stderr, flush=True)
                time.sleep(min(pause, left))
                pause = min(LONGEST_PAUSE, pause * 2)


def _told(fetched: Mapping[str, Fetched]) -> dict[str, Any]:
    leases = [
        {"id": one.lease_id, "ttl": one.lease_seconds, "renewable": one.renewable}
        for one in fetched.values()
        if one.lease_id
    ]
    versions = [
        {"name": name, **({"version": one.version} if one.version is not None else {}), "leased": bool(one.lease_id)}
        for name, one in fetched.items()
    ]
    return {"leases": leases[:MOST_LEASES], "versions": versions}


def write(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that their owner alone may read; each is whole when it has its name."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in contents.items():
        path, part = directory / name, directory / f".{name}.part"
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
        with open(handle, "wb") as file:
            file.write(content)
        part.replace(path)


def message(told: Mapping[str, Any]) -> bytes:
    """A termination message within what the kubelet reads; versions go first, leases next, the accessor never."""
    out = dict(told)
    for drop in ("versions", "leases", ""):
        raw = orjson.dumps(out)
        if len(raw) <= MESSAGE_LIMIT:
            return raw
        out.pop(drop, None)
    return orjson.dumps(out | {"message": str(out.get("message", ""))[:200]})


class _Ended(BaseException):
    """SIGTERM: the pod is being deleted. As process 1 of a container it would be passed over without a handler."""


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise _Ended


def main(words: list[str] | None = None) -> int:
    """The process; 0 where all files stand."""
    parser = argparse.ArgumentParser(prog="dataops-secrets", description="Get a pod's secrets from Vault.")
    parser.add_argument("--description", type=Path, default=Path("/dataops/agent.json"), help="what to do, as JSON")
    parser.add_argument("--message", type=Path, default=Path("/dev/termination-log"), help="where to tell what was got")
    given = parser.parse_args(words)

    def tell(told: Mapping[str, Any]) -> None:
        given.message.write_bytes(message(told))

    signal.signal(signal.SIGTERM, _end)
    agent: Agent | None = None
    try:
        agent = Agent(Description(orjson.loads(given.description.read_bytes())), tell)
        agent.run()
        return 0
    except (VaultError, CredentialError) as error:
        reason, text = error.reason, str(error)
    except ValueError as error:
        reason, text = Reason.SECRET_INVALID, str(error)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason, text = Reason.SECRET_TOO_LARGE if full else Reason.VAULT, f"{error.strerror}: {error.filename}"
    except _Ended:
        reason, text = Reason.VAULT, "ended before the secrets were read"
    except Exception as error:
        reason, text = Reason.OPERATOR_ERROR, f"a defect of the operator ({type(error).__name__}); please report it"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    accessor = agent.accessor() if agent else {}
    tell({"reason": str(reason), "message": truncate(text), **accessor})
    print(f"{reason}: {text}", file=sys.stderr, flush=True)
    if agent is not None:
        agent.give_back()
    return 1


if __name__ == "__main__":
    sys.exit(main())
