"""One control plane for all of these tests; each case has a namespace, a proxy and an operator of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
from tests.harness.api import Api
from tests.harness.operator import ROOT

from localcluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """A control plane with the CRDs installed and a Job controller that does not hold the tests up."""
    with ControlPlane.start(f"faults-{os.getpid()}", tuned_jobs=True, audit=False) as started:
        asyncio.run(_install(started))
        yield started


async def _install(plane: ControlPlane) -> None:
    async with Api(plane.server, plane.token, plane.ca) as api:
        await api.install_crds(ROOT / "crds")
