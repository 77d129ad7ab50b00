"""What a run does next: a total, pure function of what was observed and the time.

Each rule is one small function over one row, in a file with its like: `progress` (what the Jobs show), `stopping` (the
end before its time), `course` (what may begin), `starting` (how). Nothing here knows how long anything takes or who
calls: a repeated call with the same input gives the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..api.conditions import ASKING, Reason
from ..api.run import Phase
from .attempts import SEEN_TO_END, overstayed
from .caching import keyed
from .course import Course, Rows, course, following_failures, never, unanswered, verdict
from .fanning import fan_adopted, fan_begun, fan_left, fan_observed, fan_stopped
from .fanout import flat
from .indexed import indexed_begun, indexed_observed, indexed_stopped
from .inputs import Inputs
from .jobs import build_claim
from .kinds import (
    BEGUN_ONCE,
    go_on,
    kind_observed,
    kind_stopped,
    left_objects,
    object_taken_up,
    said_by_others,
)
from .outputs import bounded, run_outputs
from .plan import Asked, Plan, View
from .podends import given_until
from .progress import observed, witnesses
from .rows import Row, skipped
from .sharing import chain_observed, may_be_held
from .starting import begin, unasked
from .stopping import ENDING, Stop, stop_of, stopped
from .stored import given
from .times import to_rfc3339
from .turn import Turn


def _was_made(row: Row) -> bool:
    """Whether the Job of a step's last attempt is known to have been made; of an item the text names it in any case."""
    ended = row.phase is Phase.SUCCEEDED or (row.final and row.reason in SEEN_TO_END)
    return row.job is not None and (row.item is None or row.under_way or ended)


def plan(inputs: Inputs, rows: Sequence[Row], view: View, now: float, asked: Asked | None = None) -> Plan:
    """What a run does next.

    Args:
        inputs: what the run was accepted with.
        rows: where its steps stood; empty for a run that has just been accepted.
        view: its Jobs and pods.
        now: seconds since the epoch.
        asked: what people ask of it.
    """
    return _Planner(Turn(inputs, view, now, asked or Asked())).plan(rows)


class _Planner:
    """The rules in their order."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.revision = turn.inputs.revision

    def plan(self, before: Sequence[Row]) -> Plan:
        turn, known = self.turn, {row.name: row for row in before}
        turn.known = known
        stop = stop_of(turn)
        turn.suspended = turn.asked.suspend and stop is None
        rows: Rows = {
            name: self._observed(known.get(name) or Row(name), stopping=self._stops(name, stop))
            for name in self.revision.follows
            if name not in self.revision.linked
        }
        if self.revision.chains:
            rows = self._linked(rows, known, stop)
        if not turn.looks:
            advanced = self._advanced(rows, known, stop)
            if turn.arm:
                return Plan(tuple(rows.values()), arm=True)
            rows = advanced
        after = tuple(rows.values())
        if turn.looks:
            return Plan(
                after,
                prove=tuple(turn.prove),
                explain=turn.explain,
                look=tuple(turn.look),
                gather=tuple(turn.gather),
                fetch=tuple(turn.fetch),
                recall=tuple(dict.fromkeys(turn.recall)),
            )
        ended, kill, delete = verdict(self.revision, rows), stop is not None and stop.kill, self._given_up(after)
        return Plan(
            rows=after,
            create=tuple(turn.create),
            items=tuple(turn.items),
            claim=self._claim(before),
            delete=delete,
            stop=tuple(turn.stop),
            kill=kill,
            hold=self._held_back(rows) if stop is None and ended is None else (),
            verdict=ended,
            wake_at=min(turn.wakes, default=None),
            short=turn.short,
            rests=ended is None and self._rests(after),
            start=tuple(turn.start),
            steer=turn.steer,
            make=tuple(turn.make),
            remove=(*turn.remove, *(left_objects(turn, rows) if ended is not None else ())),
            outputs=run_outputs(turn.inputs, rows, turn.outputs) if ended is Phase.SUCCEEDED else None,
        )

    def _given_up(self, after: Sequence[Row]) -> tuple[str, ...]:
        """Jobs that must not go on, but for those whose pods are ending in their time."""
        turn, found = self.turn, []
        for name in overstayed(tuple(flat(after, turn.job_name)), turn.view):
            job = turn.view.jobs[name]
            until = given_until(job, turn.view.pods.get(job["metadata"]["uid"], ()), turn.now)
            if until is None or turn.now >= until:
                found.append(name)
            else:
                turn.wakes.append(until)
        return tuple(found)

    def _held_back(self, rows: Rows) -> tuple[str, ...]:
        """Jobs in whose pods the steps behind the one at work may not begin now, as none in a pod of its own may."""
        turn, left = self.turn, [row for row in rows.values() if row.job is not None and not row.final]
        waiting = [row for row in left if not row.attempt]
        if not waiting or not (turn.suspended or unanswered(self.revision, rows) is not None):
            return ()
        exempt = frozenset() if turn.suspended else following_failures(self.revision, rows)
        behind = {row.job for row in waiting if row.name not in exempt}
        at_work = {row.job: self.revision.steps[row.name] for row in left if row.attempt and row.job in behind}
        return tuple(name for name, step in at_work.items() if name and may_be_held(step, *witnesses(turn, name)))

    def _rests(self, after: Sequence[Row]) -> bool:
        """Whether nothing goes on before a person has said something."""
        turn, left = self.turn, [row for row in after if not row.final]
        if turn.begins or turn.taken or turn.short or any(self._goes_on(row) for row in left):
            return False
        waiting = [row for row in left if row.phase is Phase.WAITING]
        return turn.suspended or (bool(waiting) and all(row.reason in ASKING for row in waiting))

    def _goes_on(self, row: Row) -> bool:
        """Whether something of a step may be at work."""
        return row.items is not None or (row.under_way and self.revision.kinds.get(row.name) not in BEGUN_ONCE)

    def _linked(self, rows: Rows, known: Rows, stop: Stop | None) -> Rows:
        """The rows, with those of steps that may be found to share pods."""
        found = dict(rows)
        for chain in self.revision.chains:
            were = {name: known.get(name) or Row(name) for name in chain}
            found |= chain_observed(self.turn, chain, were, stopping=self._stops(chain[0], stop))
        return {name: found[name] for name in self.revision.follows}

    def _claim(self, before: Sequence[Row]) -> dict[str, Any] | None:
        """The workspace's claim, until one of the run's Jobs is known to have been made: that comes after it."""
        workspace = self.revision.spec.workspace
        if not self.turn.create or workspace is None or workspace.size is None:
            return None
        own = [row for row in before if row.reused is None]
        if any(map(_was_made, flat(own, self.turn.job_name))):
            return None
        return build_claim(self.turn.inputs.identity, workspace)

    def _observed(self, row: Row, *, stopping: bool) -> Row:
        if row.name in self.revision.kinds:
            return kind_observed(self.turn, row, self.revision.kinds[row.name], stopping=stopping)
        if row.name in self.revision.indexed:
            return indexed_observed(self.turn, row, stopping=stopping)
        look = observed if row.items is None else fan_observed
        return look(self.turn, row, stopping=stopping)

    def _stops(self, name: str, stop: Stop | None) -> bool:
        """Whether a step has to end: those of `finally` only where nothing is waited for."""
        return stop is not None and (stop.kill or name not in self.revision.final)

    def _advanced(self, rows: Rows, known: Rows, stop: Stop | None) -> Rows:
        """The rows once everything that may begin has begun."""
        ended = {name for name, row in known.items() if row.final}
        while True:  # a fan-out that is found may have ended, too, and what another is over may be its outputs
            rows = bounded(rows, ended)
            self.turn.outputs = given(self.turn, rows.values())
            if self.turn.looks:
                return rows
            before, rows = rows, {name: fan_adopted(self.turn, row) for name, row in rows.items()}
            if rows == before:
                break
        rows = {name: keyed(self.turn, row) for name, row in rows.items()}
        if stop is not None:
            rows = {
                name: self._stopped(known.get(name) or Row(name), row, stop) if self._stops(name, stop) else row
                for name, row in rows.items()
            }
        while True:
            after = self._begun(rows, stop)
            self.turn.taken |= self.turn.begins and self._said(known, after)
            answered = unanswered(self.revision, rows) is not None or unanswered(self.revision, after) is None
            if answered and not self.turn.taken:
                return after
            # A step whose condition or templates cannot be told fails before its Job exists, and what would answer a
            # failure may turn out to be skipped; what was taken from another run, or said by others, is written down
            # first: nothing begins beside these.
            self.turn.begin_nothing()
            rows = {name: after[name] if after[name].final else row for name, row in rows.items()}
            if self.turn.taken:
                self.turn.wakes.append(self.turn.now)
                return rows

    def _said(self, known: Rows, after: Rows) -> bool:
        """Whether a step has ended by what others say now, and may say otherwise before anything else was written."""
        saying = (after[name] for name in self.revision.kinds if said_by_others(self.revision.steps[name]))
        ended = (row for row in saying if row.phase in (Phase.SUCCEEDED, Phase.FAILED) and row.reason not in ENDING)
        return any(known.get(row.name) != row for row in ended)

    def _stopped(self, before: Row, row: Row, stop: Stop) -> Row:
        if row.name in self.revision.kinds:
            return kind_stopped(self.turn, before, row, self.revision.kinds[row.name], stop)
        if row.name in self.revision.indexed:
            return indexed_stopped(self.turn, before, row, stop)
        end = stopped if row.items is None else fan_stopped
        return end(self.turn, before, row, stop)

    def _begun(self, before: Rows, stop: Stop | None) -> Rows:
        """One walk along the graph, in which what ends without a pod is seen by what follows it."""
        rows = dict(before)
        failed = unanswered(self.revision, rows)
        exempt = following_failures(self.revision, rows) if failed is not None else frozenset()
        outcome: Phase | None = None
        for name in self.revision.order:
            row = rows[name]
            if row.final or row.under_way or (row.items is not None and self._stops(name, stop)):
                continue
            if name in self.revision.final:
                outcome = outcome or verdict(self.revision, rows, final=False)
                if outcome is None:
                    break  # its own turn comes when all others have ended
            elif failed is not None and name not in exempt:
                rows[name] = self._left_out(row, failed)
                continue
            rows[name] = self._next(row, rows, outcome)
            for other, job in self.turn.carried.items():
                rows[other] = replace(rows[other], job=job)
            self.turn.carried.clear()
            if rows[name].phase is Phase.SUCCEEDED:  # a fan-out over nothing, or no pod at all
                self.turn.outputs = {**self.turn.outputs, name: rows[name].outputs or {}}
        return rows

    def _left_out(self, row: Row, failed: str) -> Row:
        """The row of a step that does not begin, or not again, in a run that fails; what runs may end, and counts."""
        if row.items is not None:
            return fan_left(self.turn, row, f"not run, since step {failed} failed")
        if self.revision.steps[row.name].resource is not None:
            found = object_taken_up(self.turn, row)
            if found is None or found.under_way:
                return found or row
        if row.retry_at is not None or row.attempt > 1:  # an attempt has run and failed, even if the next was refused
            finished = row.finished_at or to_rfc3339(self.turn.now)
            return replace(row, phase=Phase.FAILED, finished_at=finished, retry_at=None)
        return skipped(row, Reason.UPSTREAM_FAILED, f"not run, since step {failed} failed")

    def _next(self, row: Row, rows: Rows, outcome: Phase | None) -> Row:
        """A step that has no attempt under way, brought as far as it may go."""
        standing, why = course(self.revision.follows[row.name], rows)
        kind = self.revision.kinds.get(row.name)
        if kind in BEGUN_ONCE and row.attempt:
            return go_on(self.turn, row, kind, rows, outcome)  # it has begun, and what has may end
        if standing is Course.HELD or (self.turn.suspended and standing is Course.DUE):
            return row
        if why is not None:
            return skipped(row, *never(why, rows[why.step]))
        if (decided := unasked(self.turn, row, rows, outcome)) is not None:
            return decided
        if kind is not None:
            return go_on(self.turn, row, kind, rows, outcome)
        if row.name in self.revision.indexed:
            return indexed_begun(self.turn, row, outcome)
        if self.revision.steps[row.name].for_each is not None:
            return fan_begun(self.turn, row, outcome)
        return begin(self.turn, row, outcome)
