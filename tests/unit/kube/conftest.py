from collections.abc import AsyncIterator

import pytest
from tests.unit.kube.scripted import ScriptedApi

from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import Credentials


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    server = ScriptedApi()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(api: ScriptedApi) -> AsyncIterator[KubeClient]:
    async with KubeClient(Credentials(api.server), timeout=2.0) as made:
        yield made
