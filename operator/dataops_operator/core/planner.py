"""What a run does next: a total, pure function of what was observed and the time.

Each rule is one small function over one row; `plan` runs them to a fixed point. Nothing here knows how long anything
takes or who calls: a repeated call with the same input gives the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final

from ..api.base import parse_duration
from ..api.conditions import UNARMED, Reason
from ..api.environment import Vault
from ..api.run import Phase
from ..api.step import FailureClass, Step
from .attempts import overstayed, refusal
from .credentials import Armed, Hindrance, wants
from .images import ImageError
from .inputs import Inputs
from .jobs import build_claim, build_job
from .names import job_name
from .observe import Object, Observation, State, observe
from .outputs import bounded
from .plan import Plan, Refusal, View
from .rows import Row, held, skipped
from .templating import TemplateError
from .times import from_rfc3339, to_rfc3339

NO_POD_PATIENCE: Final = 3.0
"""Seconds that a Job, once its controller has taken it up, may be without a pod before its events are asked why."""
BACKLOG_PATIENCE: Final = 30.0
"""The same for a Job that its controller has not taken up: it may have many before this one, and no event yet."""
AGENT_PATIENCE: Final = 5.0
"""Seconds that a pod may take to read its secrets before its step says that it waits for them."""
NO_ROOM: Final = "the environment has as many Jobs at work as its spec.quota.jobs allows"
POLL: Final = 10.0
"""Seconds between two looks at something that tells of no change by itself."""


def plan(inputs: Inputs, rows: Sequence[Row], view: View, now: float) -> Plan:
    """What a run does next.

    Args:
        inputs: what the run was accepted with.
        rows: where its steps stood; empty for a run that has just been accepted.
        view: its Jobs and pods.
        now: seconds since the epoch.
    """
    return _Planner(inputs, view, now).plan(rows)


class _Planner:
    """One turn of planning: the fixed input, and what the rules have asked for so far."""

    def __init__(self, inputs: Inputs, view: View, now: float) -> None:
        self.inputs = inputs
        self.view = view
        self.now = now
        self.create: list[dict[str, Any]] = []
        self.prove: list[str] = []
        self.explain: list[str] = []
        self.arm = False
        self.wakes: list[float] = []
        self.short = False

    def plan(self, before: Sequence[Row]) -> Plan:
        known = {row.name: row for row in before}
        rows = {name: self._observed(known.get(name) or Row(name)) for name in self.inputs.revision.needs}
        if not self.prove and not self.explain:
            advanced = self._advanced(rows, {row.name for row in before if row.final})
            if self.arm:
                return Plan(tuple(rows.values()), arm=True)
            rows = advanced
        after = tuple(rows.values())
        if self.prove or self.explain:
            return Plan(after, prove=tuple(self.prove), explain=tuple(self.explain))
        return Plan(
            rows=after,
            create=tuple(self.create),
            claim=self._claim(before),
            delete=overstayed(after, self.view),
            verdict=_verdict(after),
            wake_at=min(self.wakes, default=None),
            short=self.short,
        )

    def _claim(self, before: Sequence[Row]) -> dict[str, Any] | None:
        """The workspace's claim, in the turn that creates the run's first Jobs."""
        workspace = self.inputs.revision.spec.workspace
        first = self.create and all(row.attempt == 0 or row.refused for row in before)
        if not first or workspace is None or workspace.size is None:
            return None
        return build_claim(self.inputs.identity, workspace)

    # What the Jobs and pods show.

    def _observed(self, row: Row) -> Row:
        """The row brought up to what its attempt shows."""
        if row.final:
            return row
        step = self.inputs.revision.steps[row.name]
        # Jobs that the status has not heard of: the operator ended between the two writes. That a later attempt was
        # begun says that the one before was judged, even if that cannot be seen any more.
        while (name := self._job_name(row.name, row.attempt if row.refused else row.attempt + 1)) in self.view.jobs:
            row = self._begun(row, name)
        if not row.under_way:
            return row
        assert row.job is not None  # noqa: S101 - under_way says so
        job = self.view.jobs.get(row.job)
        pods = self.view.pods.get(job["metadata"]["uid"], ()) if job is not None else ()
        seen = observe(step, job, pods, proven=row.job in self.view.proven)
        if seen.state is State.UNPROVEN:
            self.prove.append(row.job)
            return row
        if seen.state is State.SUCCEEDED:
            return self._succeeded(row, seen)
        if seen.state is State.FAILED:
            return self._failed(row, step, seen)
        return self._active(row, step, job or {}, bool(pods), seen)

    def _begun(self, row: Row, name: str) -> Row:
        attempt = row.attempt if row.refused else row.attempt + 1
        created = self.view.jobs[name]["metadata"].get("creationTimestamp")
        return Row(row.name, Phase.RUNNING, attempt=attempt, started_at=created, job=name)

    def _succeeded(self, row: Row, seen: Observation) -> Row:
        return replace(
            row,
            phase=Phase.SUCCEEDED,
            reason=None,
            message=seen.message or None,
            started_at=seen.started_at or row.started_at,
            finished_at=seen.finished_at or to_rfc3339(self.now),
            image=seen.image,
            outputs=seen.outputs or None,
        )

    def _failed(self, row: Row, step: Step, seen: Observation) -> Row:
        """A failed attempt: another one later, or the end of the step."""
        finished = seen.finished_at or to_rfc3339(self.now)
        row = replace(
            row,
            phase=Phase.FAILED,
            reason=seen.reason or Reason.ERROR,
            message=seen.message,
            started_at=seen.started_at or row.started_at,
            finished_at=finished,
            image=seen.image,
        )
        policy = self.inputs.revision.retry(step)
        if seen.failure not in policy.on or row.attempt > policy.limit:
            return row
        backoff = policy.backoff
        wait = parse_duration(backoff.initial) * backoff.factor ** (row.attempt - 1)
        retry_at = from_rfc3339(finished) + min(wait, parse_duration(backoff.max))
        # Times are cut to whole seconds, so one more keeps the wait whole; and never in the past, so that every
        # failed attempt is seen to wait before the next one begins.
        return replace(row, phase=Phase.WAITING, retry_at=to_rfc3339(max(retry_at, self.now) + 1))

    def _active(self, row: Row, step: Step, job: Object, has_pod: bool, seen: Observation) -> Row:
        """An attempt under way: nothing to do, unless it does not start."""
        if seen.started:
            return replace(row, phase=Phase.RUNNING, reason=None, message=None)
        assert row.job is not None  # noqa: S101
        reason, message = seen.reason, seen.message
        created = from_rfc3339(job["metadata"]["creationTimestamp"])
        patience = NO_POD_PATIENCE if job["status"].get("startTime") else BACKLOG_PATIENCE
        if not has_pod and self.now >= created + patience:
            told = self.view.explained.get(row.job)
            if told is None:
                self.explain.append(row.job)
            elif told:
                reason, message = refusal(told)
            self.wakes.append(self.now + POLL)
        elif not has_pod:
            self.wakes.append(created + patience)
        limit = step.start_timeout or self.inputs.revision.defaults.start_timeout
        deadline = max(created, seen.armed_at or 0.0) + parse_duration(limit)
        if seen.arming_since is not None:  # for which the environment has a limit of its own
            if (vault := self._vault()) is not None:
                deadline = max(deadline, seen.arming_since + parse_duration(vault.wait_limit) + AGENT_PATIENCE)
            if self.now < seen.arming_since + AGENT_PATIENCE:
                self.wakes.append(seen.arming_since + AGENT_PATIENCE)
                reason = None
        if self.now >= deadline:
            if row.job not in self.view.proven:
                self.prove.append(row.job)
                return row
            why = f": {message}" if message else ""
            late = Observation(
                State.FAILED,
                FailureClass.START,
                reason or Reason.NOT_STARTED,
                f"did not start within {limit}{why}",
                started_at=row.started_at,
            )
            return self._failed(row, step, late)
        self.wakes.append(deadline)
        if reason is None:
            return row
        # The same trouble in other words is no news, and no write.
        text = row.message if row.reason == reason else message
        return replace(row, phase=Phase.WAITING, reason=reason, message=text)

    # What follows.

    def _advanced(self, rows: dict[str, Row], ended: Set[str]) -> dict[str, Row]:
        """The rows once everything that may begin has begun; `ended` had before."""
        rows = bounded(rows, ended)
        if not _failing(rows):
            due = {name: self._due(row, rows) for name, row in rows.items()}
            if not _failing(due):
                return due
            # A step whose templates cannot be filled in fails before its Job exists; nothing begins beside it.
            self.create.clear()
            self.arm = False
            rows = {name: row if row.phase is Phase.FAILED else rows[name] for name, row in due.items()}
        # After a failure nothing new begins; what runs may end, and its outcome counts.
        failed = next(row.name for row in rows.values() if row.phase is Phase.FAILED)
        return {name: self._stopped(row, failed) for name, row in rows.items()}

    def _stopped(self, row: Row, failed: str) -> Row:
        if row.final or row.under_way:
            return row
        if row.retry_at is not None or row.attempt > 1:  # an attempt has run and failed, even if the next was refused
            finished = row.finished_at or to_rfc3339(self.now)
            return replace(row, phase=Phase.FAILED, finished_at=finished, retry_at=None)
        return skipped(row, Reason.UPSTREAM_FAILED, f"not run, since step {failed} failed")

    def _due(self, row: Row, rows: Mapping[str, Row]) -> Row:
        """The row with its next attempt begun, if that may be."""
        if row.final or row.under_way:
            return row
        if any(rows[name].phase is not Phase.SUCCEEDED for name in self.inputs.revision.needs[row.name]):
            return row
        if row.retry_at is not None and self.now < from_rfc3339(row.retry_at):
            self.wakes.append(from_rfc3339(row.retry_at))
            return row
        attempt = row.attempt if row.refused else row.attempt + 1
        return self._start(row, attempt, rows)

    def _start(self, row: Row, attempt: int, rows: Mapping[str, Row]) -> Row:
        step = self.inputs.revision.steps[row.name]
        name = self._job_name(row.name, attempt)
        if name in self.view.refused:
            return self._refused(row, step, attempt, self.view.refused[name])
        if self.view.room is not None and len(self.create) >= self.view.room:
            self.short = True
            self.wakes.append(self.now + POLL)
            return held(row, Reason.JOB_QUOTA, NO_ROOM)
        armed = self.view.armed
        if not isinstance(armed, Armed):
            if wants(self.inputs, step):
                return self._unarmed(row, attempt, armed)
            armed = None
        outputs = {one.name: one.outputs or {} for one in rows.values() if one.phase is Phase.SUCCEEDED}
        now = to_rfc3339(self.now)
        try:
            self.create.append(build_job(self.inputs, (step,), attempt, outputs, armed))
        except TemplateError as error:
            return Row(row.name, Phase.FAILED, Reason.INVALID_TEMPLATE, str(error), finished_at=now)
        except ImageError as error:
            return Row(row.name, Phase.FAILED, Reason.IMAGE_NOT_ALLOWED, str(error), finished_at=now)
        return Row(row.name, Phase.RUNNING, attempt=attempt, started_at=now, job=name)

    def _unarmed(self, row: Row, attempt: int, why: Hindrance | None) -> Row:
        """A step whose secrets are not at hand: asked for, waited for within the environment's limit, or failed."""
        if why is None:
            self.arm = True
            return row
        waited = row.refused and row.started_at and row.reason in UNARMED
        began = row.started_at if waited and row.started_at else to_rfc3339(self.now)
        limit = vault.wait_limit if (vault := self._vault()) is not None else "0s"
        deadline = from_rfc3339(began) + parse_duration(limit)
        if why.final or self.now >= deadline:
            text = why.message if why.final else f"still without secrets after vault.waitLimit, {limit}: {why.message}"
            return Row(row.name, Phase.FAILED, why.reason, text, attempt, began, to_rfc3339(self.now))
        self.wakes.append(min(deadline, why.again_at or self.now + POLL))
        text = row.message or why.message if row.reason == why.reason else why.message
        return Row(row.name, Phase.WAITING, why.reason, text, attempt, began)

    def _vault(self) -> Vault | None:
        """How steps of the run's environment get secrets."""
        return self.inputs.environment.vault if self.inputs.environment is not None else None

    def _refused(self, row: Row, step: Step, attempt: int, told: Refusal) -> Row:
        """A Job that the API server would not take: tried again until startTimeout, where that can help."""
        reason, message = refusal(told.message, told.reason)
        before = row.refused and row.reason not in UNARMED
        began = row.started_at if before and row.started_at else to_rfc3339(self.now)
        limit = step.start_timeout or self.inputs.revision.defaults.start_timeout
        deadline = from_rfc3339(began) + parse_duration(limit)
        if told.hopeless or self.now >= deadline:
            text = f"cannot start: {message}" if told.hopeless else f"did not start within {limit}: {message}"
            return Row(row.name, Phase.FAILED, reason, text, attempt, began, to_rfc3339(self.now))
        self.wakes.append(min(deadline, self.now + POLL))
        text = row.message or message if row.reason == reason else message
        return Row(row.name, Phase.WAITING, reason, text, attempt, began)

    def _job_name(self, step: str, attempt: int) -> str:
        return job_name(self.inputs.identity.name, self.inputs.identity.uid, step, attempt)


def _failing(rows: Mapping[str, Row]) -> bool:
    return any(row.phase is Phase.FAILED for row in rows.values())


def _verdict(rows: Sequence[Row]) -> Phase | None:
    if not all(row.final for row in rows):
        return None
    return Phase.FAILED if _failing({row.name: row for row in rows}) else Phase.SUCCEEDED
