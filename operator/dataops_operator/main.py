"""The operator's process: kopf watches our kinds, own watches follow runs, Jobs and pods, a queue feeds the workers.

kopf is the shell. Its handlers only put keys on the queue: it drops what a handler raises, and it never reports what
was deleted while its watch had lost its place, so a list from time to time mends that. Any end that was not asked for
ends the process, and the next one rebuilds everything from the cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import uuid
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, cast

import kopf
import uvloop

from . import __version__
from .arguments import parse_arguments
from .controllers.children import Children
from .controllers.environment import EnvironmentController, Options
from .controllers.events import Recorder
from .controllers.history import HistoryController
from .controllers.keys import Key
from .controllers.leases import Keeper
from .controllers.ledger import Ledger
from .controllers.objects import Objects
from .controllers.pipeline import PipelineController
from .controllers.provisioning import Provisioning, Secrets
from .controllers.resultserver import ResultServer
from .controllers.revisions import Revisions
from .controllers.run import RunController
from .controllers.secrets import Arming, NoVault
from .controllers.steptemplate import StepTemplateController
from .controllers.world import Followed, Settings, World
from .core.inputs import Endpoint
from .core.network import Reach
from .core.provision import Agents
from .kube.client import KubeClient
from .kube.config import ConfigError, load_credentials
from .kube.errors import ApiError
from .kube.leader import LeaderElector
from .kube.queue import WorkQueue, run_workers
from .kube.watch import Informer, reconcile_store
from .metrics.registry import Metrics
from .metrics.server import Health, serve
from .shell import build_registry, build_settings, read_with_care, setup_logging
from .vault.servers import ServersError, load_servers
from .vault.session import Vaults

logger = logging.getLogger(__name__)

DRAIN: Final = 20.0
"""Seconds that work in hand may take after SIGTERM; the chart's grace period is longer."""


def main() -> None:
    """Run the operator until it is told to stop; exit code 1 when it ended otherwise."""
    arguments = parse_arguments()
    setup_logging(arguments.log_level, arguments.log_format)
    try:
        operator = Operator(arguments)
    except (ConfigError, ServersError) as error:
        sys.exit(f"dataops-operator: {error}")
    try:
        uvloop.run(operator.run())
    except Exception:
        logger.exception("The operator ends, since a part of it failed; its next start rebuilds all from the cluster")
        sys.exit(1)


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """A part ended that should not have."""


class Operator:
    """One replica: its parts, their start and their end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Prepare the parts.

        Raises:
            ConfigError: there is no usable API server.
            ServersError: the Vault servers cannot be used as they are written.
        """
        self._arguments = arguments
        self._servers = load_servers(Path(arguments.vault_servers)) if arguments.vault_servers else {}
        self._vaults: Vaults | None = None
        self._keeper: Keeper | None = None
        self._endpoint: Endpoint | None = None
        if arguments.results_listen:
            self._endpoint = Endpoint(arguments.results_url, (Path(arguments.results_tls) / "ca.crt").read_text())
        self._credentials = load_credentials(arguments.kubeconfig)
        self._stop = asyncio.Event()

    def _build(self) -> None:
        arguments = self._arguments
        metrics = Metrics()
        names = tuple(name.strip() for name in arguments.namespaces.split(",") if name.strip())
        agent = f"dataops-operator/{__version__}"
        self._client = KubeClient(self._credentials, observe=metrics.count_request, user_agent=agent)
        # Of its own, so that renewals never wait behind the work.
        self._lease_client = KubeClient(self._credentials, max_connections=2, timeout=5.0, user_agent=agent)
        queue: WorkQueue[Key] = WorkQueue(
            observe_depth=metrics.reconcile_queue_depth.set,
            observe_latency=metrics.reconcile_queue_seconds.observe,
        )
        settings = Settings(
            names,
            arguments.workers,
            arguments.pipeline_wait,
            arguments.runner_service_account,
            arguments.resync,
            self._endpoint,
        )
        self._world = World(self._client, settings, metrics, Recorder(self._client), queue)
        revisions = Revisions(self._client, grace=arguments.revision_grace)
        arming = self._arming()
        self._objects = Objects(self._world, self._credentials, arguments.step_objects)
        self._runs = RunController(self._world, revisions, arming, self._objects)
        self._environment = self._environments(revisions, arming)
        self._controllers: dict[
            str, EnvironmentController | StepTemplateController | PipelineController | RunController
        ] = {
            "Environment": self._environment.controller,
            "StepTemplate": StepTemplateController(self._world),
            "Pipeline": PipelineController(self._world, revisions),
            "PipelineRun": self._runs,
        }
        keeper = self._keeper
        self._history = HistoryController(
            self._world, revisions, lambda uid: keeper is not None and keeper.ledger.get(uid) is not None
        )
        # A pod's container that starts again takes its own Lease up at once: the process that held it is dead.
        identity = os.environ.get("POD_NAME") or f"local_{uuid.uuid4().hex[:8]}"
        self._elector = LeaderElector(self._lease_client, arguments.lease_namespace, arguments.lease_name, identity)
        self._health = Health()
        self._kopf_ready = asyncio.Event()
        self._kopf_stop = asyncio.Event()

    def _environments(self, revisions: Revisions, arming: Arming | NoVault) -> Provisioning:
        """What makes and keeps Environments."""
        arguments, world = self._arguments, self._world
        agents = Agents(
            world.settings.runner,
            arguments.service_account,
            arguments.lease_namespace,
            arguments.runs_role,
            arguments.steps_role,
            int(arguments.results_listen.rpartition(":")[2] or 0),
        )
        patterns = tuple(filter(None, (one.strip() for one in arguments.environment_namespaces.split(","))))
        ways = {name: Reach(one.host, one.port, one.peers) for name, one in self._servers.items()}
        options = Options(agents, patterns, arguments.deletion_wait, ways)
        secrets = None
        if self._vaults is not None and self._keeper is not None and isinstance(arming, Arming):
            secrets = Secrets(self._vaults, self._keeper, arming)
        return Provisioning(world, revisions, options, secrets, arguments.storage_image)

    def _arming(self) -> Arming | NoVault:
        """What gets secrets for runs."""
        arguments, world = self._arguments, self._world
        if not arguments.vault_servers:
            return NoVault()
        seen = world.metrics.vault
        self._vaults = Vaults(self._servers, arguments.vault_token, seen.count_request, seen.breaker)
        self._keeper = Keeper(world, Ledger(self._client, arguments.lease_namespace), self._vaults)
        runner = Children(world).ensure_runner
        arming = Arming(world, self._keeper, self._vaults, agent_image=arguments.agent_image, ensure_runner=runner)
        world.run_gone, world.pod_with_init = arming.ended, self._keeper.pod_changed
        return arming

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT.

        Raises:
            ExceptionGroup: a part failed, or leadership was lost.
        """
        self._build()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = self._start(group)
                # kopf comes last: when it stops it cancels the tasks that were created after it.
                shell = group.create_task(self._shell(), name="kopf")
                await self._kopf_ready.wait()
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, self._stop.set)  # kopf has put its own there
                await self._stop.wait()
                await self._drain(tasks)
                self._kopf_stop.set()
                await shell
        finally:
            await self._objects.close()
            await self._client.close()
            await self._lease_client.close()
            if self._vaults is not None:
                self._vaults.close()

    def _start(self, group: asyncio.TaskGroup) -> dict[str, asyncio.Task[None]]:
        """Start the parts beside kopf; none of them ends by itself."""
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "http": serve(self._arguments.listen, self._world.metrics.registry, self._health),
            "caches": self._caches(),
            "events": self._world.recorder.run(),
            "heartbeat": self._health.beat(),
            "lead": self._lead(),
        }
        if self._endpoint is not None:
            tls = Path(self._arguments.results_tls)
            parts["results"] = ResultServer(self._world).serve(self._arguments.results_listen, tls)
        return {name: group.create_task(self._guard(name, part), name=name) for name, part in parts.items()}

    async def _guard(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        await part
        if not self._stop.is_set():
            raise Stopped(name)

    # The parts.

    async def _caches(self) -> None:
        """List our kinds, follow runs, Jobs and pods, and list all again from time to time."""
        world = self._world
        await self._elector.look_for_vacancy()
        await self._list_definitions()
        async with asyncio.TaskGroup() as group:
            runs, *children = world.followed()
            await self._follow(group, [runs])
            for informer in self._environment.informers():
                group.create_task(informer.run())
            await self._follow(group, children)
            # What is held now mostly stays: no pass of the collector need look at it again (140 ms at 10,000 runs).
            gc.collect()
            gc.freeze()
            gc.set_threshold(20_000, 20, 20)  # nearly nothing here is cyclic
            self._health.synced.set()
            logger.info(
                "Caches are synced: %d pipelines, %d runs, %d jobs, %d pods",
                *(len(store) for store in (world.pipelines, world.runs, world.jobs, world.pods)),
            )
            while True:
                await asyncio.sleep(world.settings.resync)
                try:
                    await self._list_definitions()
                except ApiError as error:
                    logger.warning("The list beside the watches failed, the next one mends what it missed: %s", error)

    async def _follow(self, group: asyncio.TaskGroup, kinds: Sequence[Followed]) -> None:
        """Follow kinds by watches of our own from now on; returns when their stores are filled."""
        informers = [
            Informer(
                self._client,
                store.resource,
                store,
                changed,
                namespace=namespace,
                label_selector=selector,
                resync=self._world.settings.resync,
            )
            for namespace in self._world.settings.namespaces or (None,)
            for store, changed, selector in kinds
        ]
        for informer in informers:
            group.create_task(informer.run())
        for informer in informers:
            await informer.synced.wait()

    async def _list_definitions(self) -> None:
        """List the kinds that kopf watches: at the start, and for the deletions that it misses after a 410."""
        await self._list([(store, changed, None) for store, changed in self._world.definitions()])

    async def _list(self, kinds: Sequence[Followed]) -> None:
        """Make the stores of kinds equal to what the cluster has."""
        for namespace in self._world.settings.namespaces or (None,):
            for store, changed, selector in kinds:
                await reconcile_store(
                    self._client, store.resource, store, changed, namespace=namespace, label_selector=selector
                )

    async def _lead(self) -> None:
        """Stand by with warm caches; work while leading; end the process when leadership is lost."""
        await self._health.synced.wait()
        async with asyncio.TaskGroup() as group:
            started = asyncio.Event()
            renewals = group.create_task(self._elector.run(started.set))
            waiter = group.create_task(started.wait())
            await asyncio.wait({renewals, waiter}, return_when=asyncio.FIRST_COMPLETED)
            if not self._elector.was_vacant:
                # The watches may lag behind what the last leader wrote; nothing is decided on less than it did.
                await self._list_definitions()
                await self._list(self._world.followed())
            if self._keeper is not None:
                await self._keeper.load()
            self._world.metrics.leader.set(1)
            keeping = group.create_task(self._keeper.run() if self._keeper is not None else asyncio.sleep(0))
            workers = group.create_task(run_workers(self._world.queue, self._world.settings.workers, self._reconcile))
            clean_up = group.create_task(run_workers(self._world.clean_up, 1, self._clean_up))
            await asyncio.wait({renewals, workers}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                raise Stopped("leadership")
            for task in (renewals, keeping, clean_up):
                task.cancel()

    async def _reconcile(self, key: Key) -> None:
        """Reconcile one key, and count how it went."""
        if not self._elector.is_leader:
            return  # the process stood still for longer than its Lease, and is about to end
        with self._world.metrics.reconciling(key.kind):
            try:
                await self._controllers[key.kind].reconcile(key)
            except Exception as error:
                if key.kind == "PipelineRun":
                    await self._runs.failed(key, error)
                raise

    async def _clean_up(self, key: Key) -> None:
        """Delete what the history of one key lets go."""
        if self._elector.is_leader:
            with self._world.metrics.reconciling("History"):
                await self._history.reconcile(key)

    async def _shell(self) -> None:
        """kopf, with watches on our own kinds that feed the stores."""
        namespaces = self._world.settings.namespaces
        read_with_care()
        await kopf.operator(
            registry=build_registry(self._world, self._credentials),
            settings=build_settings(),
            # Its own way to a name asks for that of the user, which a bare uid does not have.
            identity=cast(Any, self._elector.identity),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=self._kopf_stop,
            ready_flag=self._kopf_ready,
        )
        if not self._stop.is_set():
            raise Stopped("kopf")

    # The end.

    async def _drain(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        """Finish the work in hand, tell what is left to tell, and hand the Lease over."""
        logger.info("Stopping: finishing the writes in hand")
        self._world.queue.shut_down()
        if self._elector.is_leader:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(tasks["lead"]), DRAIN)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._world.recorder.flush(), 5)
            await self._elector.release()
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


if __name__ == "__main__":
    main()
