"""What is read of the Jobs and pods that the watches bring, so that nothing else of them is ever built in memory.

A pod's event has 7 kB, of which an eighth is read; a typed decoder passes over the rest, at a third of the time that
decoding all of it takes.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Meta(msgspec.Struct, rename="camel", omit_defaults=True):
    resource_version: str
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    owner_references: list[dict[str, Any]] = []


class _PodSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    active_deadline_seconds: int | None = None


class _Container(msgspec.Struct, omit_defaults=True):
    name: str
    state: dict[str, Any] = {}
    imageID: str = ""  # noqa: N815 - its name on the wire


class _PodStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: str = ""
    container_statuses: list[_Container] = []
    init_container_statuses: list[_Container] = []
    conditions: list[dict[str, Any]] = []


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _JobSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    completion_mode: str = ""
    completions: int | None = None


class _JobStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    start_time: str = ""
    active: int = 0
    completed_indexes: str = ""
    failed_indexes: str = ""
    conditions: list[dict[str, Any]] = []


class _Job(msgspec.Struct):
    metadata: _Meta
    spec: _JobSpec = msgspec.field(default_factory=_JobSpec)
    status: _JobStatus = msgspec.field(default_factory=_JobStatus)


class _PodEvent(msgspec.Struct):
    type: str
    object: _Pod


class _JobEvent(msgspec.Struct):
    type: str
    object: _Job


_POD_EVENT = msgspec.json.Decoder(_PodEvent)
_JOB_EVENT = msgspec.json.Decoder(_JobEvent)


def decode_pod(line: bytes) -> tuple[str, dict[str, Any]]:
    """Type and pod of a watch event.

    Raises:
        ValueError: it is no event of a pod, such as an ERROR with a Status.
    """
    event = _POD_EVENT.decode(line)
    return event.type, msgspec.to_builtins(event.object)


def decode_job(line: bytes) -> tuple[str, dict[str, Any]]:
    """Type and Job of a watch event.

    Raises:
        ValueError: it is no event of a Job, such as an ERROR with a Status.
    """
    event = _JOB_EVENT.decode(line)
    return event.type, msgspec.to_builtins(event.object)
