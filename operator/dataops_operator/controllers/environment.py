"""Environments."""

from __future__ import annotations

from .world import Key, World


class EnvironmentController:
    """Reconciles Environments."""

    def __init__(self, world: World) -> None:
        """Work on what the world holds."""
        self._world = world

    async def reconcile(self, key: Key) -> None:
        """Bring one Environment about."""
