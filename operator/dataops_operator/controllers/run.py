"""PipelineRuns: read the caches, ask core what to do, do it, and write at most one status patch."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..api.conditions import Reason, truncate
from ..core import accept
from ..core import status as statuses
from ..core.accept import Pinned, Refused, Waiting
from ..core.attempts import ended_well
from ..core.concurrency import key_of
from ..core.course import answered
from ..core.credentials import Armed
from ..core.inputs import Identity, Inputs
from ..core.names import CREATED_BY_ANNOTATION
from ..core.plan import Plan, Refusal, View, asked_of
from ..core.planner import plan
from ..core.quota import in_line, maker
from ..core.rows import Row
from ..core.stepfields import Kind
from ..core.stepparameters import step_parameters
from ..core.times import from_rfc3339
from .acceptance import Acceptance, Begun
from .admission import Admission
from .children import Children
from .earlier import earlier
from .endings import Endings
from .kept import TRACKED
from .keys import Key, run_key
from .objects import Objects
from .revisions import Revisions
from .runstatus import RunStatus
from .secrets import Arming, NoVault
from .tenancy import Tenancy
from .world import Object, World

logger = logging.getLogger(__name__)

LAST_WORDS: Final = 3.0
"""Seconds after a run's end in which its last Jobs may still come to say that they have ended."""

PATIENCE: Final = 5
"""Failed reconciles of a run in a row, about two seconds of them, after which its status says so."""
_TURNS = 5
"""Times that one reconcile looks closer before it leaves the rest to the next one."""


class RunController:
    """Reconciles PipelineRuns."""

    def __init__(self, world: World, revisions: Revisions, secrets: Arming | NoVault, objects: Objects) -> None:
        """Work on what the world holds."""
        self._world = world
        self._secrets = secrets
        self._objects = objects
        self._children = Children(world)
        self._endings = Endings(world, self._children)
        tenancy = Tenancy(world)
        self._admission = Admission(world, tenancy)
        self._status = RunStatus(world, self._children)
        self._acceptance = Acceptance(world, revisions, tenancy, self._admission)

    async def reconcile(self, key: Key) -> None:
        """Take one run as far as it can go now."""
        run = self._world.runs.get(key.namespace, key.name)
        if run is None or "deletionTimestamp" in run["metadata"]:
            self._status.forget(key)
            if run is not None:
                self._world.leave_line(run)
            return  # what it made is owned by it, and goes with it
        if statuses.is_final(run["status"]):
            await self._after_the_end(run)
            return
        identity = Identity(key.namespace, key.name, run["metadata"]["uid"], run["spec"]["pipeline"])
        if (early := self._held_back(run)) is not None:
            self._world.leave_line(run)
            await self._not_begun(run, early)
            return
        begun = await self._acceptance.of(run, identity, self._children)
        if isinstance(begun, Waiting | Refused):
            await self._not_begun(run, begun)
        else:
            await self._go_on(run, identity, begun)

    def _held_back(self, run: Object) -> Waiting | Refused | None:
        """What people want of a run that has not begun: that it never does, or not now."""
        asked = asked_of(run)
        if run["status"].get("revision") or not (asked.cancel or asked.suspend) or self._children.view(run).jobs:
            return None
        if asked.cancel is not None:
            by = f" by {asked.by}" if asked.by else ""
            return Refused(Reason.CANCELLED, f"cancelled{by} before it began")
        return Waiting(Reason.SUSPENDED, statuses.SUSPENDED, time.time() + accept.LOOK_AGAIN)

    async def _after_the_end(self, run: Object) -> None:
        """Let go of what ended with the run, and end what did not."""
        self._secrets.ended(run["metadata"]["uid"])
        self._world.let_go(run)
        await self._children.end_runs(run)
        ended = from_rfc3339(run["status"].get("finishedAt") or run["metadata"]["creationTimestamp"])
        if time.time() < ended + LAST_WORDS:
            self._world.queue.add_after(run_key(run), LAST_WORDS)
        else:
            await self._endings.end_overstayed(run, None)
        # A spec that was changed is said to be seen, or kstatus takes the run for under way for ever.
        generation = run["metadata"]["generation"]
        await self._status.write(run, {**run["status"], "observedGeneration": generation}, time.time())

    async def failed(self, key: Key, error: Exception) -> None:
        """Where reconciling a run fails again and again, let others go first, and say so: nobody waits in the dark."""
        run, failures = self._world.runs.get(key.namespace, key.name), self._world.queue.failures(key)
        if run is None or statuses.is_final(run["status"]) or failures < PATIENCE:
            return
        self._world.leave_line(run)  # each try takes its place anew
        self._world.lines.withdraw(run, ready=False)
        if failures > PATIENCE:
            return
        text = f"reconciling the run fails and is tried again: {type(error).__name__}: {error}"
        now = time.time()
        trouble = Waiting(Reason.OPERATOR_ERROR, truncate(text, 500), now)
        await self._status.write(run, statuses.waiting(run["status"], trouble, run["metadata"]["generation"], now), now)

    def _about(self, run: Object, environment: str | None, key: str | None) -> Mapping[str, Any]:
        """What a run's status always says: who asked for it, to which environment it belongs, with whom it counts."""
        annotations = run["metadata"].get("annotations") or {}
        if (made_by := maker(run)) is not None:  # whose account is the operator's: who asked for that one did for this
            above = self._world.runs.by_uid(made_by)
            asked = above["status"].get("requestedBy") if above is not None else None
            annotations = {**annotations, CREATED_BY_ANNOTATION: asked or annotations.get(CREATED_BY_ANNOTATION, "")}
        told = statuses.belonging(run["status"], annotations, environment)
        return told if key is None else {**told, "concurrencyKey": key}

    async def _not_begun(self, run: Object, why: Waiting | Refused) -> None:
        now, generation = time.time(), run["metadata"]["generation"]
        if isinstance(why, Waiting):
            self._world.queue.add_after(run_key(run), max(why.until - now, 0) + 0.1)
            self._world.lines.withdraw(run, ready=in_line(run))
            after = statuses.waiting(run["status"], why, generation, now)
        else:
            done = ended_well(self._children.view(run)) if run["status"].get("steps") else ()
            after = statuses.refused(run["status"], why, generation, now, done)
        entry = self._world.lines.entry(run)
        about = self._about(run, self._acceptance.environment_of(run), entry.key if entry is not None else None)
        await self._status.write(run, {**after, **about}, now)

    # Progress.

    async def _go_on(self, run: Object, identity: Identity, begun: Begun) -> None:
        key, fixed = run_key(run), begun.fixed
        inputs = accept.inputs(identity, begun.revision, fixed, self._world.settings.runner, begun.environment)
        inputs = replace(inputs, endpoint=self._world.settings.endpoint)
        if begun.rows and not run["status"].get("revision"):
            await self._take_over(run, inputs, begun)
            return
        rows = tuple(Row.from_status(one) for one in run["status"].get("steps") or ())
        uid = identity.uid
        view = replace(self._view(run, inputs), armed=self._secrets.standing(uid))
        asked = asked_of(run, view.jobs.values())
        cached = sum(one.cache is not None for one in begun.revision.steps.values())
        for _ in range(_TURNS + cached):  # each may be found only once the one before it is
            now = time.time()
            next_step = plan(inputs, rows, replace(view, room=self._admission.room(run)), now, asked)
            if next_step.arm:
                view = replace(view, armed=self._secrets.ask_for_run(inputs, key))
                if view.armed is None:
                    return  # it is being got; the run comes back for it
                continue
            if not next_step.looks:
                # Nothing is awaited between the look at the room and these Jobs counting as at work.
                self._admission.line_up(run, waits=next_step.short)
                with self._admission.creating(run, len(next_step.create)):
                    refused = await self._create(key, run, next_step)
                if not refused:
                    break
                seen, turned = self._view(run, inputs), {**view.refused, **refused}
                view = replace(view, jobs=seen.jobs, pods=seen.pods, runs=seen.runs, refused=turned, explained={})
                continue
            view = await self._look_closer(run, view, next_step)
        else:
            self._world.queue.add(key)
            return
        if next_step.remove:  # before the status says that it is over: what is repeated finds nothing
            await self._objects.remove(run, next_step.remove)
        if isinstance(view.armed, Armed) and view.armed.agent is not None:
            await self._secrets.noted(uid, [pod for pods in view.pods.values() for pod in pods])
            view = replace(view, armed=self._secrets.standing(uid) or view.armed)
        after = statuses.running(
            run["status"],
            fixed,
            next_step.rows,
            next_step.verdict,
            run["metadata"]["generation"],
            now,
            hidden=inputs.hidden,
            secrets=view.armed.versions if isinstance(view.armed, Armed) else (),
            place=self._admission.place(run),
            suspended=asked.suspend and asked.cancel is None,
            outputs=next_step.outputs,
            answered=answered(inputs.revision, {row.name: row for row in next_step.rows}),
        )
        after |= self._also(run, inputs, fixed)
        if next_step.rests:
            self._secrets.release(uid)
        if next_step.wake_at is not None:
            self._world.queue.add_after(key, max(next_step.wake_at - now, 0) + 0.05)
        begins = view.armed is None and _only_begins(run, next_step)
        if await self._status.write(run, after, now, begins=begins):
            await self._end(run, next_step)

    async def _take_over(self, run: Object, inputs: Inputs, begun: Begun) -> None:
        """Write down what of another run this one begins with, before anything of it begins: then that one may go."""
        now, generation = time.time(), run["metadata"]["generation"]
        after = statuses.running(run["status"], begun.fixed, begun.rows, None, generation, now, hidden=inputs.hidden)
        if await self._status.write(run, {**after, **self._also(run, inputs, begun.fixed)}, now):
            self._world.queue.add(run_key(run))

    def _view(self, run: Object, inputs: Inputs) -> View:
        """What the caches have of what the run made."""
        view = self._children.view(run)
        if Kind.PIPELINE in inputs.revision.kinds.values():
            view = replace(view, runs=self._children.runs(run), above=self._children.above(run))
        return view

    async def _end(self, run: Object, todo: Plan) -> None:
        """End, or change, of what the run made what the plan asks for."""
        if todo.stop:
            await self._endings.stop(run, todo.stop)
        if todo.hold:
            await self._endings.hold_back(run, todo.hold)
        if todo.steer:
            await self._children.steer(run, todo.steer)
        if todo.delete:
            await self._endings.end_overstayed(run, todo.rows, kill=todo.kill)

    def _also(self, run: Object, inputs: Inputs, fixed: Pinned) -> Mapping[str, Any]:
        """What the status of a run that has begun says besides how it goes."""
        key_then = run["status"].get("concurrencyKey") if run["status"].get("revision") else key_of(inputs)
        told = self._about(run, fixed.environment or None, key_then)
        if inputs.revision.templates and (given := run["status"].get("stepParameters") or step_parameters(inputs)):
            return {**told, "stepParameters": given}
        return told

    async def _look_closer(self, run: Object, view: View, todo: Plan) -> View:
        """The view after reading what a plan wants to see."""
        if todo.look:
            seen = await self._objects.read(run["metadata"]["namespace"], todo.look)
            view = replace(view, objects={**view.objects, **seen})
        if todo.recall:
            found = {key: await earlier(self._world, run, key) for key in todo.recall}
            view = replace(view, recalled={**view.recalled, **found})
        if todo.prove or todo.explain or todo.gather or todo.fetch:
            view = await self._children.look_closer(run, view, todo)
        return view

    async def _create(self, key: Key, run: Object, todo: Plan) -> Mapping[str, Refusal]:
        """Create what the plan asks for; what was refused, by name."""
        if not todo.create and not todo.start and not todo.make:
            return {}
        refused: dict[str, Refusal] = dict(await self._children.create(run, todo)) if todo.create else {}
        if todo.start:
            refused |= await self._children.start(run, todo.start)
        if todo.make:
            refused |= await self._objects.make(run, todo.make)
        ended_at = self._world.pod_ends.pop(key, None)
        if ended_at is not None and not refused:
            self._world.metrics.transition.observe(time.monotonic() - ended_at)
        return refused


def _only_begins(run: Object, todo: Plan) -> bool:
    """Whether a plan has a run begin and no more, and nobody takes the run without a status for done.

    Who applies a run does: he looks at its status to see whether it is.
    """
    ends = todo.stop or todo.delete or todo.hold or todo.steer
    told, applied = run["status"].get("revision"), run["metadata"].get(TRACKED)
    return bool(todo.create) and not (ends or told or applied)
