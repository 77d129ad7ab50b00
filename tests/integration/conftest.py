"""A real API server for the tests of this folder."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.harness.api import Api
from tests.harness.kinds import CRDS, PIPELINES
from tests.harness.operator import ROOT
from tests.integration.beside import start_together
from tests.integration.support import World, a_world

from localcluster import kind
from localcluster.controlplane import ControlPlane

# A machine makes clusters with nodes in one of two ways; the tests of the other could only be skipped on it.
collect_ignore = ["test_cluster_node.py" if kind.docker_answers() else "test_cluster_kind.py"]

_LONG = "branches cluster_node fairness history_restart outage own_rights runs targets vault_trouble"
LONG = frozenset(f"test_{name}.py" for name in _LONG.split())
"""Modules with cases that wait a minute, or that go on one after another."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that last long by themselves come first, or one worker ends long after the other."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, API server and controller manager of this session's own; no node."""
    with ControlPlane.start(f"integration-{os.getpid()}", tuned_jobs=True) as made:
        yield made


@pytest.fixture(scope="session")
def plane(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the CRDs installed."""

    async def install() -> None:
        async with Api(control_plane.server, control_plane.token, control_plane.ca) as api:
            if not await api.find(CRDS, None, f"{PIPELINES.plural}.{PIPELINES.group_version.split('/')[0]}"):
                await api.install_crds(ROOT / "crds")

    asyncio.run(install())
    return control_plane


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    request: pytest.FixtureRequest, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """What the cases of a module share; its WORDS are for the operator, and with OPERATOR = False it has none yet."""
    logs = tmp_path_factory.mktemp(request.path.stem.removeprefix("test_").replace("_", "-"))
    words, operator = getattr(request.module, "WORDS", ()), getattr(request.module, "OPERATOR", True)
    async with a_world(plane, logs, *words, operator=operator) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def together(request: pytest.FixtureRequest, world: World) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """The cases of a module that run side by side, begun."""
    async with start_together(request, world) as tasks:
        yield tasks
