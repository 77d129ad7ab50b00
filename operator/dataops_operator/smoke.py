"""A proof that an installation works: runs a pipeline of one step, tells how it went, and cleans up.

`helm test` starts it in a pod of its own; `python -m dataops_operator.smoke` does the same from anywhere that
has a kubeconfig. It needs get, create and delete on pipelines and pipelineruns in one namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dataops_operator.api.base import API_VERSION, format_duration, parse_duration
from dataops_operator.api.conditions import Type, find_condition
from dataops_operator.kube.client import KubeClient
from dataops_operator.kube.config import ConfigError, load_credentials
from dataops_operator.kube.errors import ApiError, NotFound, TooManyRequests, Unavailable
from dataops_operator.kube.resources import PIPELINE_RUNS, PIPELINES, Resource

POLL = 0.5
"""Seconds between two looks at the run; a test that lasts seconds needs no watch."""
STEP: Final = "multiply"
NUMBER: Final = 6
ANSWER: Final = 42
# What every step relies on: a parameter comes in by a template, an output goes out by the result file.
PROGRAM: Final = (
    "import json, sys; json.dump({'outputs': {'answer': int(sys.argv[1]) * 7}}, open('/dataops/result', 'w'))"
)

Body = Mapping[str, Any]


class Failed(Exception):  # noqa: N818 - the outcome of a test
    """The test did not pass; the message says why, for the person who installed the operator."""


def pipeline(name: str, image: str, start_timeout: float) -> dict[str, Any]:
    """The Pipeline of the test.

    Args:
        name: of the Pipeline.
        image: of its step; has python3.
        start_timeout: seconds that the step's container may take to start.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "Pipeline",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "dataops-operator"}},
        "spec": {
            "description": "Shows that the operator works; made and removed by its test.",
            "parameters": [{"name": "number", "type": "Integer", "required": True}],
            "defaults": {"startTimeout": f"{max(int(start_timeout), 1)}s"},
            "steps": [
                {
                    "name": STEP,
                    "image": image,
                    "command": ["python3", "-c", PROGRAM, "$(params.number)"],
                    "outputs": [{"name": "answer", "type": "Integer"}],
                }
            ],
        },
    }


def run(name: str) -> dict[str, Any]:
    """The PipelineRun of the test; it and its Pipeline have the same name."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "dataops-operator"}},
        "spec": {"pipeline": name, "parameters": [{"name": "number", "value": NUMBER}]},
    }


def states(obj: Body) -> Iterator[tuple[str, str]]:
    """What there is to tell of a run, as (subject, state): the run itself, what it waits for, each step."""
    status = obj.get("status") or {}
    if status.get("phase"):
        yield "run", _join(status["phase"], status.get("progress"))
    for item in status.get("waitingFor") or ():
        yield f"waiting for {item.get('reason')}", item.get("message") or ""
    for step in status.get("steps") or ():
        yield f"step {step['name']}", _join(step["phase"], step.get("reason"), step.get("message"))


def report(obj: Body) -> Iterator[str]:
    """The conditions of a run that did not end well, a line each; its steps have been told as they changed."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        words = _join(condition.get("reason"), condition.get("message"))
        yield f"condition {condition['type']}={condition['status']}: {words}"


def taken_up(obj: Body) -> bool:
    """Whether an operator has seen the run: the API server's own default for observedGeneration is -1."""
    return int((obj.get("status") or {}).get("observedGeneration", -1)) >= 0


def verdict(obj: Body) -> bool:
    """Whether the run has ended, and well.

    Raises:
        Failed: it has ended otherwise, or without the answer that its step worked out.
    """
    succeeded = find_condition(obj, Type.SUCCEEDED) or {}
    if succeeded.get("status") == "False":
        raise Failed(f"the run failed: {_join(succeeded.get('reason'), succeeded.get('message'))}")
    if succeeded.get("status") != "True":
        return False
    outputs = next((s.get("outputs") for s in obj["status"].get("steps") or () if s["name"] == STEP), None)
    if outputs != {"answer": ANSWER}:
        raise Failed(f"the run succeeded, but its step's outputs are {outputs}; expected answer: {ANSWER}")
    return True


class Smoke:
    """One test: what it makes, what it has already told, and how it cleans up."""

    def __init__(self, client: KubeClient, namespace: str, image: str, timeout: float) -> None:
        """Prepare a test; nothing is sent yet.

        Args:
            client: connected as somebody who may make pipelines and runs in the namespace.
            namespace: to run in; the operator has to watch it.
            image: of the step.
            timeout: seconds that the run may take.
        """
        self._client = client
        self._namespace = namespace
        self._image = image
        self._timeout = timeout
        self._name = f"smoke-{secrets.token_hex(4)}"
        self._started = time.monotonic()
        self._told: dict[str, str] = {}

    async def test(self) -> None:
        """Make the pipeline and its run, follow the run to its end, and remove both whatever happens.

        Raises:
            Failed: the run did not succeed in time.
            ApiError: the API server refused.
        """
        try:
            await self._create(PIPELINES, pipeline(self._name, self._image, self._timeout * 0.75))
            await self._create(PIPELINE_RUNS, run(self._name))
            await self._follow()
        finally:
            await self._remove(PIPELINE_RUNS)
            await self._remove(PIPELINES)

    async def _create(self, resource: Resource, body: Body) -> None:
        try:
            await self._client.create(resource, self._namespace, body)
        except NotFound as error:
            raise Failed(
                f"{error.message}: the namespace {self._namespace} or the kind {resource.kind} is missing. "
                "Create the namespace, or install the CRDs (crds.install=true, or kubectl apply -k crds/)."
            ) from error
        self._say(f"{resource.kind} {self._namespace}/{self._name} created")

    async def _follow(self) -> None:
        obj: Body = {}
        while True:
            try:
                obj = await self._client.get(PIPELINE_RUNS, self._namespace, self._name)
            except (Unavailable, TooManyRequests) as error:
                self._tell("API server", str(error))
            for subject, state in states(obj):
                self._tell(subject, state)
            try:
                if verdict(obj):
                    return
                if time.monotonic() - self._started > self._timeout:
                    raise Failed(self._overdue(obj))
            except Failed:
                for line in report(obj):
                    self._say(line)
                raise
            await asyncio.sleep(POLL)

    def _overdue(self, obj: Body) -> str:
        after = format_duration(self._timeout)
        if taken_up(obj):
            return f"the run has not ended after {after}"
        return (
            f"after {after} no operator has taken up the run: see whether one runs, is ready, leads, and "
            f"watches the namespace {self._namespace}"
        )

    async def _remove(self, resource: Resource) -> None:
        try:
            await self._client.delete(resource, self._namespace, self._name)
        except NotFound:
            return
        except ApiError as error:
            self._say(f"{resource.kind} {self._namespace}/{self._name} is left over, delete it by hand: {error}")

    def _tell(self, subject: str, state: str) -> None:
        if self._told.get(subject) != state:
            self._told[subject] = state
            self._say(f"{subject}: {state}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f}s  {text}", flush=True)


def _join(*words: str | None) -> str:
    return " - ".join(word for word in words if word)


async def _main(namespace: str, image: str, timeout: float) -> int:  # noqa: ASYNC109 - a fact of the test
    task = asyncio.current_task()
    if task is not None:
        # Somebody ends the test early: what it made is removed all the same.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with KubeClient(load_credentials(), user_agent="dataops-smoke", max_connections=2) as client:
            await Smoke(client, namespace, image, timeout).test()
    except (Failed, ApiError, ConfigError) as error:
        print(f"FAILED: {error}", flush=True)
        return 1
    except asyncio.CancelledError:
        print("ended early; what the test made is removed", flush=True)
        return 1
    print("PASSED", flush=True)
    return 0


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: list[str] | None = None) -> int:
    """Run the test as a program; returns its exit code, 0 for passed."""
    parser = argparse.ArgumentParser(prog="python -m dataops_operator.smoke", description=__doc__)
    parser.add_argument("--namespace", required=True, help="namespace to run in; the operator has to watch it")
    parser.add_argument("--image", required=True, help="image of the step; has python3")
    parser.add_argument("--timeout", type=_duration, default="2m", help="how long the run may take (default 2m)")
    options = parser.parse_args(argv)
    return asyncio.run(_main(options.namespace, options.image, options.timeout))


if __name__ == "__main__":
    sys.exit(main())
