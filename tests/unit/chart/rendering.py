"""The chart as `helm template` renders it, for tests that look at what a cluster would get."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

import yaml

from chartcheck import CHART, NAMESPACE, helm

Object = dict[str, Any]


class Rendered:
    """The objects of one rendering, and how to find one."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def all(self, kind: str, component: str | None = None) -> list[Object]:
        """Every object of the kind, of the component if one is named."""
        label = "app.kubernetes.io/component"
        found = [o for o in self.objects if o["kind"] == kind]
        return [o for o in found if component is None or o["metadata"]["labels"][label] == component]

    def one(self, kind: str, component: str | None = None) -> Object:
        """The only object of the kind."""
        found = self.all(kind, component)
        assert len(found) == 1, f"{len(found)} objects of kind {kind}"
        return found[0]


class RefusedError(Exception):
    """Helm did not render the chart; the message is what the user reads."""


@cache
def template(values: str, release: str, options: tuple[str, ...] = ()) -> list[Object]:
    """What `helm template` gives for values in JSON, with more options such as `--kube-version=1.34.0`.

    Raises:
        RefusedError: Helm, or the chart's schema, does not take the values.
    """
    command = [str(helm()), "template", release, str(CHART), f"--namespace={NAMESPACE}", "--values=-", *options]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return [o for o in yaml.safe_load_all(done.stdout) if o]


Render = Callable[..., Rendered]


def render_chart(*, ci: str | None = None, release: str = "dataops-operator", **values: Any) -> Rendered:
    """The chart with the values given: those of a file in its ci/ folder, those named here, or both.

    Raises:
        RefusedError: Helm, or the chart's schema, does not take the values.
    """
    if ci is not None:
        values = yaml.safe_load((CHART / "ci" / f"{ci}-values.yaml").read_text()) | values
    return Rendered(template(json.dumps(values), release))
