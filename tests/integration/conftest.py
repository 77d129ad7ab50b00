"""A real API server for the tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from localcluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """etcd, API server and controller manager of this session's own; no node."""
    with ControlPlane.start(f"integration-{os.getpid()}", audit=False) as made:
        yield made
