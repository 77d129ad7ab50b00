"""In which mode a table of the planner runs."""

import pytest
from tests import builders


@pytest.fixture(params=["Never", "Auto"], ids=["own pods", "shared pods"])
def both_modes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test twice: with a pod for each step, and with steps that share pods where they may; which of the two."""
    fuse: str = request.param
    monkeypatch.setattr(builders, "FUSE", fuse)
    return fuse
