"""Fixtures of the chart's tests."""

from __future__ import annotations

import pytest
from tests.unit.chart.rendering import Render, render_chart


@pytest.fixture(scope="session")
def render() -> Render:
    """Renders the chart: `render(replicas=2, watch={"namespaces": ["a"]})`, `render(ci="minimal")`."""
    return render_chart
