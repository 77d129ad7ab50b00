"""The step contract: one JSON object of at most 4,096 bytes, written in place to `/dataops/result`.

The file is the container's termination message, so it exists before the step starts, must not be
renamed onto, and is cut by the platform beyond its size: what does not fit is left out here, counted.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

LIMIT = 4096
"""Bytes that Kubernetes keeps of a container's termination message."""

TEXT = 160
"""Characters kept of a check's value and expectation."""

MESSAGE = 800
"""Characters kept of the message."""

Outcome = Literal["Pass", "Warn", "Fail"]
Scalar = str | int | float

_ORDER: tuple[Outcome, ...] = ("Fail", "Warn", "Pass")


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found (`value`) and what should have been (`expected`)."""

    name: str
    outcome: Outcome
    value: Scalar
    expected: Scalar

    def document(self) -> dict[str, Scalar]:
        """Return the check as the step contract writes it, long texts cut."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "value": _cut(self.value),
            "expected": _cut(self.expected),
        }


@dataclass(frozen=True)
class Result:
    """What a step hands back: `outputs` for later steps, numbers, checks, datasets.

    `text` is for the log alone; `message` is one line for the run's status, given when the step failed.
    """

    outputs: Mapping[str, Scalar] = field(default_factory=dict)
    metrics: Mapping[str, int | float] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    datasets: Sequence[Mapping[str, Scalar]] = ()
    text: str = ""
    message: str = ""

    def for_pipeline(self) -> bool:
        """Say whether there is anything in it besides text, for a person alone."""
        return bool(self.outputs or self.metrics or self.checks or self.datasets or self.message)

    def failed(self) -> list[Check]:
        """Return the checks that forbid going on."""
        return [check for check in self.checks if check.outcome == "Fail"]

    def encode(self, limit: int = LIMIT) -> bytes:
        """Return the result as JSON of at most `limit` bytes.

        Checks are ordered by how much they matter and left out from the end, passed ones first; the metric
        `checksLeftOut` says how many, and the counts of all outcomes stay whole.
        """
        checks = sorted(self.checks, key=lambda check: _ORDER.index(check.outcome))
        for kept in range(len(checks), -1, -1):
            data = self._encode(checks[:kept], left_out=len(checks) - kept)
            if len(data) <= limit:
                return data
        raise ValueError(f"outputs, metrics and datasets alone exceed {limit} bytes")

    def _encode(self, kept: Sequence[Check], left_out: int) -> bytes:
        document: dict[str, object] = {"message": _cut(self.message, MESSAGE)} if self.message else {}
        metrics = dict(self.metrics)
        if self.checks:
            for outcome in _ORDER:
                metrics[f"checks{outcome}"] = sum(check.outcome == outcome for check in self.checks)
        if left_out:
            metrics["checksLeftOut"] = left_out
        if self.outputs:
            document["outputs"] = dict(self.outputs)
        if metrics:
            document["metrics"] = metrics
        if kept:
            document["checks"] = [check.document() for check in kept]
        if self.datasets:
            document["datasets"] = [dict(dataset) for dataset in self.datasets]
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def write(result: Result) -> None:
    """Write the result to `DATAOPS_RESULT` (default `/dataops/result`); without that file, say so."""
    path = Path(os.environ.get("DATAOPS_RESULT", "/dataops/result"))
    if not path.exists():
        print(f"note: no result written, there is no {path} outside of a pipeline's step", file=sys.stderr)
        return
    path.write_bytes(result.encode())


def _cut(value: Scalar, limit: int = TEXT) -> Scalar:
    if isinstance(value, str) and len(value) > limit:
        return value[: limit - 1] + "…"
    return value
