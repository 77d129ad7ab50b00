"""The parts that make and keep Environments, put together."""

from __future__ import annotations

from dataclasses import dataclass

from ..kube.watch import Informer
from ..vault.session import Vaults
from .environment import EnvironmentController, Options
from .leases import Keeper
from .probes import NoLogins, NoServers, NoStorage, Probe
from .provisioner import Provisioner
from .revisions import Revisions
from .secrets import Arming
from .targetjobs import TargetJobs
from .targets import Targets
from .tenancy import Tenancy
from .vaultcheck import VaultCheck
from .world import World


@dataclass(frozen=True)
class Secrets:
    """What reads secrets, where the administrator has defined Vault servers."""

    vaults: Vaults
    keeper: Keeper
    arming: Arming


class Provisioning:
    """What makes and keeps Environments.

    Attributes:
        controller: reconciles them.
    """

    def __init__(
        self, world: World, revisions: Revisions, options: Options, secrets: Secrets | None, storage_image: str
    ) -> None:
        """Put the parts together.

        Args:
            world: what every controller sees.
            revisions: what environments were.
            options: how they are made here.
            secrets: None where there are no Vault servers.
            storage_image: of the Jobs that touch targets; none is made where it is empty.
        """
        self._world = world
        self._provisioner = Provisioner(world.client, world.queue.add)
        self._jobs = TargetJobs(world, secrets.arming if secrets else NoLogins(), image=storage_image)
        tenancy = Tenancy(world)
        vault: Probe = NoServers()
        if secrets is not None:
            vault = VaultCheck(world, secrets.vaults, secrets.keeper.ledger, secrets.arming)
        targets: Probe = Targets(tenancy, revisions, self._jobs) if storage_image else NoStorage()
        self._with_jobs = bool(storage_image)
        self.controller = EnvironmentController(
            world, tenancy, self._provisioner, options, vault=vault, targets=targets
        )

    def informers(self) -> list[Informer]:
        """Watches on what Environments make. Nobody waits for them: what their stores do not have is read live."""
        scope = self._world.settings.namespaces, self._world.settings.resync
        return self._provisioner.informers(*scope) + (self._jobs.informers(*scope) if self._with_jobs else [])
