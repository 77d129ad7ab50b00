"""Whether the runs of an environment can log in to Vault: tried once as they do, and again when something changed.

The token of the trial is revoked at once, and with it nothing is read. What was found stands in the condition
VaultReady, so a restart tries nothing again that was well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..api.conditions import Reason, Type, find_condition
from ..core.environment import Effective
from ..core.environment_status import Part
from ..core.provision import Place
from ..kube.errors import ApiError
from ..vault.errors import VaultError
from ..vault.session import Vaults
from .keys import Key
from .ledger import Ledger
from .probes import Verdict
from .world import Object, World

logger = logging.getLogger(__name__)

_TOKEN_SECONDS: Final = 600
_QUICK: Final = 0.5
"""Seconds that a reconcile waits for the answer, so that one write of the status has it."""
_FIRST_RETRY: Final = 2.0
_LONGEST_RETRY: Final = 300.0
_RIGHTS_PATIENCE: Final = 4
"""Tries for which the API server may not know yet of the right that was just given."""
_SHOWN: Final = 5


class Release(Protocol):
    """Gives credentials up."""

    def release(self, uid: str) -> None:
        """The holder needs them no more."""


@dataclass
class _Trial:
    """What is known of one environment.

    Attributes:
        of: server, role and namespace that were tried.
        part: what came of it; None while that is not known.
        task: the trial under way.
        failures: trials in a row that failed.
        again: when the next one is due, in seconds since the epoch.
    """

    of: str
    part: Part | None = None
    task: asyncio.Task[None] | None = None
    failures: int = 0
    again: float = 0.0


class VaultCheck:
    """Tries the login of environments' runs, and sees what they hold taken back at an environment's end."""

    def __init__(self, world: World, vaults: Vaults, ledger: Ledger, arming: Release) -> None:
        """Work for one operator.

        Args:
            world: the client and the queue.
            vaults: the servers.
            ledger: what runs and environments hold.
            arming: gives up what an environment itself holds.
        """
        self._world = world
        self._vaults = vaults
        self._ledger = ledger
        self._arming = arming
        self._trials: dict[str, _Trial] = {}

    def forget(self, uid: str) -> None:
        """Let go of what is known of an environment that is gone."""
        trial = self._trials.pop(uid, None)
        if trial is not None and trial.task is not None:
            trial.task.cancel()

    async def part(self, environment: Object, content: Effective, place: Place) -> Verdict:
        """Whether runs can log in."""
        vault = content.vault
        if vault is None:
            return Verdict(Part(True, Reason.NOT_USED, "no secrets are asked for"))
        if not self._vaults.knows(vault.server):
            text = (
                f"spec.vault.server: the operator's administrator defined no Vault server {vault.server!r}; have it "
                "added to vault.servers of the chart, or name another"
            )
            return Verdict(Part(False, Reason.VAULT_NOT_CONFIGURED, text, stalled=True))
        account = self._world.settings.runner
        done = f"{account} of {place.execution} logs in to Vault server {vault.server} in role {vault.role}"
        trial = self._trials.get(place.uid)
        if trial is None or trial.of != done:
            self.forget(place.uid)
            told = find_condition(environment, Type.VAULT_READY)
            known = told is not None and told["status"] == "True" and told["message"] == done
            trial = self._trials[place.uid] = _Trial(done, Part(True, Reason.PROVISIONED, done) if known else None)
        if trial.part is not None and trial.part.status:
            return Verdict(trial.part)
        if trial.task is None and time.time() >= trial.again:
            trial.task = asyncio.create_task(self._try(trial, vault.server, vault.role, place))
        if trial.task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(trial.task), _QUICK)
        part = trial.part or Part(None, Reason.PROVISIONING, f"tries whether {done}")
        return Verdict(part, max(trial.again - time.time(), 0.1) if trial.task is None and not part.status else None)

    async def _try(self, trial: _Trial, server: str, role: str, place: Place) -> None:
        """Log in as a run does, and give the login up."""
        login: Any = None
        try:
            audience, account = self._vaults.audience(server), self._world.settings.runner
            jwt = await self._world.client.create_token(place.execution, account, audience, _TOKEN_SECONDS)
            login = await self._vaults.login(server, role, jwt)
            trial.part, trial.failures = Part(True, Reason.PROVISIONED, trial.of), 0
        except VaultError as error:
            self._failed(trial, Part(False, error.reason, str(error), stalled=error.final))
        except ApiError as error:
            # A right that was just given is known a moment later; the server's own sentence may quote what was sent.
            text = f"the API server refuses a token of {place.execution}'s runner: {error.status} {error.reason}"
            part = Part(False, Reason.VAULT_LOGIN_FAILED, text)
            self._failed(trial, part if trial.failures >= _RIGHTS_PATIENCE else None)
        except Exception as error:
            logger.exception("Trying the login of environment %s/%s failed", place.project, place.name)
            self._failed(trial, Part(False, Reason.VAULT_LOGIN_FAILED, f"the trial failed: {type(error).__name__}"))
        finally:
            trial.task = None
            self._world.queue.add(Key("Environment", place.project, place.name))
            if login is not None:
                try:
                    await self._vaults.log_out(server, login)
                except VaultError as error:
                    logger.warning("A login that was a trial ends with its own time: %s", error)

    def _failed(self, trial: _Trial, part: Part | None) -> None:
        trial.part = part
        trial.failures += 1
        wait = _FIRST_RETRY * 2.0 ** min(trial.failures - 1, 8) if part is not None else 0.5
        trial.again = time.time() + min(wait, _LONGEST_RETRY)

    async def release(self, environment: Object, place: Place) -> str:  # noqa: ARG002 - as a Probe
        """See that nothing is held any more, by the environment or by its runs; what is, for people."""
        self._arming.release(place.uid)
        key = f"{place.project}/{place.name}"
        held = [
            entry.record.holder
            for entry in self._ledger
            if entry.record.holder.uid == place.uid
            or (entry.record.environment == key and entry.record.namespace == place.execution)
        ]
        names = sorted(f"{one.kind} {one.name}" for one in held)
        if not names:
            return ""
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"waits for Vault to take back what it gave to {', '.join(names[:_SHOWN])}{more}"
