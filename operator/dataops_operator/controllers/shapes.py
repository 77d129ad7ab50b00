"""What is read of the Jobs and pods that lists and watches bring, so that nothing else of them is ever built in memory.

A pod's event has 7 kB, of which an eighth is read; a typed decoder passes over the rest, at a third of the time that
decoding all of it takes.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from ..kube.decode import Shape


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


T = TypeVar("T", _Pod, _Job)


class _Event(msgspec.Struct, Generic[T]):
    type: str
    object: T


class _ListMeta(msgspec.Struct, rename="camel", omit_defaults=True):
    resource_version: str
    continue_: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct, Generic[T]):
    metadata: _ListMeta
    items: list[T]


def _shape(event: msgspec.json.Decoder[_Event[T]], page: msgspec.json.Decoder[_Page[T]]) -> Shape:
    def read_event(line: bytes) -> tuple[str, dict[str, Any]]:
        read = event.decode(line)
        return read.type, msgspec.to_builtins(read.object)

    def read_page(answer: bytes) -> dict[str, Any]:
        whole: dict[str, Any] = msgspec.to_builtins(page.decode(answer))
        return whole

    return Shape(read_event, read_page)


POD_SHAPE: Final = _shape(msgspec.json.Decoder(_Event[_Pod]), msgspec.json.Decoder(_Page[_Pod]))
JOB_SHAPE: Final = _shape(msgspec.json.Decoder(_Event[_Job]), msgspec.json.Decoder(_Page[_Job]))
