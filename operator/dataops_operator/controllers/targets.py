"""Targets of Environments: made, looked into every half hour, and taken back.

Nothing of a target is touched by the operator itself: Jobs under the environment's runner do that. What they found
stands in status.targets, so a restart begins with that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..api.conditions import Reason, Type, find_condition
from ..core.environment import Effective
from ..core.environment_status import Part
from ..core.provision import Place
from ..core.storagejob import TEMPORARY, Action, Code, Report
from ..core.targetjobs import Outcome, Work, checking, dropping, report_of
from ..core.targets import ResolvedTarget
from ..core.times import from_rfc3339, to_rfc3339
from .probes import Verdict, row_of
from .revisions import Revisions
from .targetjobs import LOOK, Hindered, Running, TargetJobs
from .tenancy import Tenancy
from .world import Object

logger = logging.getLogger(__name__)

EVERY: Final = 1800.0
"""Seconds between two looks at targets that were well."""
_FIRST_RETRY: Final = 15.0
_LONGEST_RETRY: Final = 600.0
_AGAIN: Final = 10.0
"""Seconds between two tries to take something back."""
_LOOKED: Final = (Reason.PROVISIONED, Reason.TARGET_UNREACHABLE)
"""What a condition says after a look."""


@dataclass
class _Check:
    """What is known of one environment's targets.

    Attributes:
        task: what `rows` and `bad` tell of; where the environment's is another, a look is due.
        rows: of status.targets.
        bad: what was not well.
        at: when that was found, in seconds since the epoch; 0 for never.
        failures: looks in a row at which not all was well.
        job: the Job under way.
        hindered: why there is none where one is due.
        tried: when taking back was tried last, in seconds since the epoch.
        dropped: whether all places were taken back.
    """

    task: str = ""
    rows: tuple[Mapping[str, Any], ...] = ()
    bad: tuple[Report, ...] = ()
    at: float = 0.0
    failures: int = 0
    job: Running | None = None
    hindered: Hindered | None = None
    tried: float = 0.0
    dropped: bool = False

    def due_at(self) -> float:
        """When the next look is due."""
        wait = EVERY if not self.failures else min(_LONGEST_RETRY, _FIRST_RETRY * 2.0 ** (self.failures - 1))
        return self.at + wait


class Targets:
    """Has targets made, checked and taken back."""

    def __init__(self, tenancy: Tenancy, revisions: Revisions, jobs: TargetJobs) -> None:
        """Work for one operator.

        Args:
            tenancy: what holds in environments.
            revisions: what held in those that can no longer be understood.
            jobs: does it.
        """
        self._tenancy = tenancy
        self._revisions = revisions
        self._jobs = jobs
        self._checks: dict[str, _Check] = {}

    def forget(self, uid: str) -> None:
        """Let go of what is known of an environment that is gone."""
        self._checks.pop(uid, None)

    # To make and to check.

    async def part(self, environment: Object, content: Effective, place: Place) -> Verdict:
        """Where the targets stand.

        Raises:
            ApiError: a Job could not be made, read or removed; the next try does.
        """
        if not content.targets:
            return Verdict(Part(True, Reason.NOT_USED, "no targets are named"))
        work = checking(content, place.uid)
        check = self._checks.get(place.uid)
        if check is None:
            check = self._checks[place.uid] = _restored(environment, content, work)
        if check.job is not None and check.job.work.task != work.task:
            await self._clear(check, place)
        if check.job is not None:
            if (result := await self._jobs.result(check.job, place)) is not None:
                await self._take(check, check.job.work, content, place, result)
        elif check.task != work.task or time.time() >= check.due_at():
            if work.made:  # what can take them back must outlive the words that they are derived from
                await self._revisions.ensure_environment(environment, content)
            await self._start(check, content, place, work)
        elif check.hindered is not None:  # of a look that is due no more: the environment is again as it was
            self._jobs.give_up(place)
            check.hindered = None
        return _verdict(check, content, work)

    async def _start(self, check: _Check, content: Effective, place: Place, work: Work) -> None:
        begun = await self._jobs.start(content, place, work, check.hindered)
        check.job, check.hindered = (begun, None) if isinstance(begun, Running) else (None, begun)

    async def _clear(self, check: _Check, place: Place, *, keep: bool = False) -> None:
        job, check.job = check.job, None
        if job is not None:
            await self._jobs.clear(job, place, keep=keep)

    async def _take(self, check: _Check, work: Work, content: Effective, place: Place, result: Outcome) -> None:
        """Keep what a Job found."""
        now = time.time()
        reports = {one.name: report_of(one.name, result) for one in work.targets}
        check.rows = tuple(_row(target, reports.get(target.name), now) for target in content.targets.values())
        check.bad = tuple(one for one in reports.values() if not one.good)
        check.task, check.at = work.task, now
        check.failures = check.failures + 1 if check.bad else 0
        await self._clear(check, place, keep=bool(check.bad))

    # To take back.

    async def release(self, environment: Object, place: Place) -> str:
        """Take back the places that the environment made outside the cluster; what is left, for people.

        Raises:
            ApiError: a Job could not be made, read or removed; the next try does.
        """
        check = self._checks.setdefault(place.uid, _Check())
        if check.dropped or environment["status"].get("namespace") != place.execution:
            return ""
        content = self._tenancy.effective(environment)[0]
        if content is None:
            content = await self._revisions.latest_environment(place.project, place.name, place.uid)
        if content is None:
            return _unknown(environment)
        work = dropping(content, place.uid)
        if not work.made:
            return ""
        places = ", ".join(f"{one.name} ({one.attributes['url']})" for one in work.made)
        if check.job is not None and check.job.work.action is not Action.DROP:
            await self._clear(check, place)
        if check.job is None and time.time() >= check.tried + _AGAIN:
            await self._start(check, content, place, work)
        if check.job is None:
            why = check.hindered.part.message if check.hindered is not None else "; ".join(map(_said, check.bad))
            return f"takes back what it made in its targets, {places}: {why}"
        if (result := await self._jobs.result(check.job, place)) is None:
            return f"takes back what it made in its targets, {places}"
        reports = [report_of(one.name, result) for one in work.made]
        check.bad = tuple(one for one in reports if not one.good)
        check.dropped, check.tried = not check.bad, time.time()
        await self._clear(check, place, keep=bool(check.bad))
        if check.dropped:
            logger.info("Environment %s/%s took back %s", place.project, place.name, places)
            return ""
        return f"could not take back what it made in its targets, {places}: {'; '.join(map(_said, check.bad))}"


def _restored(environment: Object, content: Effective, work: Work) -> _Check:
    """What the status tells of the last look; the next one is due when it would have been."""
    status = environment["status"]
    rows = {row["name"]: row for row in status.get("targets") or ()}
    told = find_condition(environment, Type.TARGETS_READY)
    fresh = told is not None and told.get("observedGeneration") == environment["metadata"]["generation"]
    same = all(rows.get(name, {}).get("url") == one.attributes["url"] for name, one in content.targets.items())
    times = [from_rfc3339(row["checkedAt"]) for row in rows.values() if "checkedAt" in row]
    if told is None or not fresh or not same or not times or told["reason"] not in _LOOKED:
        return _Check()
    bad = tuple(
        Report(name, Code.FAILED, row.get("message") or "") for name, row in rows.items() if row["reachable"] == "False"
    )
    return _Check(work.task, tuple(rows.values()), bad, min(times), failures=1 if bad else 0)


def _verdict(check: _Check, content: Effective, work: Work) -> Verdict:
    now, known = time.time(), check.task == work.task
    rows = check.rows if known else tuple(_row(target, None, 0.0) for target in content.targets.values())
    if check.job is not None:
        retry: float | None = LOOK
    elif check.hindered is not None:
        retry = max(check.hindered.until - now, 1.0) if check.hindered.until else None
    else:
        retry = max(check.due_at() - now, 1.0)
    if not known:
        verb = "makes and looks into" if work.made else "looks into"
        under_way = f"Job {check.job.name if check.job else ''} {verb} {', '.join(sorted(content.targets))}"
        part = check.hindered.part if check.hindered else Part(None, Reason.PROVISIONING, under_way)
        return Verdict(part, retry, rows)
    if check.bad:
        text = "; ".join(map(_said, check.bad))
        stalled = any(one.code not in TEMPORARY for one in check.bad)
        return Verdict(Part(False, Reason.TARGET_UNREACHABLE, text, stalled), retry, rows)
    return Verdict(Part(True, Reason.PROVISIONED, f"reached {', '.join(sorted(content.targets))}"), retry, rows)


def _row(target: ResolvedTarget, report: Report | None, now: float) -> dict[str, Any]:
    if report is None:
        return row_of(target.name, target.kind, target.attributes)
    row = row_of(target.name, target.kind, target.attributes, str(report.good))
    row["checkedAt"] = to_rfc3339(now)
    if report.message:
        row["message"] = report.message
    if report.used_bytes is not None:
        row["usedBytes"] = report.used_bytes
    return row


def _said(report: Report) -> str:
    return f"{report.name}: {report.message or report.code}"


def _unknown(environment: Object) -> str:
    """What may be left of an environment that nobody understands any more."""
    rows = environment["status"].get("targets") or ()
    places = [row["url"] for row in rows if environment["spec"].get("from") and row["kind"] in ("postgres", "s3")]
    if not places:
        return ""
    return f"cannot tell any more how to reach what it made in its targets: {', '.join(places)}"
