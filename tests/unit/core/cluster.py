"""A model of a cluster around the planner: what is true, what the operator's cache shows of it, what it wrote down.

It does what the controller does with a plan, and what an API server, a Job controller, a kubelet and the people
around them do to Jobs and pods. Whatever must never happen is asserted where it would.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from tests.builders import EPOCH, JobBuilder, PipelineBuilder, PodBuilder, a_run, an_environment, at
from tests.unit.core.nested import Nested

from dataops_operator.api.base import parse_duration
from dataops_operator.api.conditions import ASKING, Reason
from dataops_operator.api.run import Cancel, Decision, Phase
from dataops_operator.api.step import On
from dataops_operator.core.approving import may_decide
from dataops_operator.core.attempts import overstayed
from dataops_operator.core.credentials import Armed, Hindrance
from dataops_operator.core.fanout import flat
from dataops_operator.core.indexedjobs import tally
from dataops_operator.core.inputs import Endpoint
from dataops_operator.core.items import tolerated
from dataops_operator.core.kinds import BEGUN_ONCE
from dataops_operator.core.names import ATTEMPT_LABEL, GOES_ON_LABEL, ITEM_LABEL, STEP_LABEL, job_name, result_name
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.observe import deadline_of, has_begun
from dataops_operator.core.plan import Asked, Decided, Earlier, Plan, Refusal, View
from dataops_operator.core.planner import plan
from dataops_operator.core.podends import given_until, orders
from dataops_operator.core.revision import load_revision
from dataops_operator.core.rows import Row
from dataops_operator.core.stepfields import Kind
from dataops_operator.core.stopping import ENDING
from dataops_operator.core.times import from_rfc3339, to_rfc3339

Object = dict[str, Any]
Part = tuple[str, int | None]
"""A step, and the item of it where it fans out."""
TURNS = 5
"""Times that one reconcile looks closer, as the controller has it."""


ARMED = Armed(secret="s", files={"x": ("k",)})


class CrashError(Exception):
    """The operator ended in the middle of a reconcile."""


class Cluster:
    """One run of a pipeline, and everything around it."""

    def __init__(self, pipeline: PipelineBuilder) -> None:
        inputs = a_run().inputs(pipeline, an_environment(vault={"role": "r", "waitLimit": "1m"}))
        self.inputs = replace(inputs, endpoint=Endpoint("https://results", "ca"))
        self.now = EPOCH
        # What is true.
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, list[Object]] = {}
        self.turns: dict[str, list[Object]] = {}
        """Of a Job that several steps share: the states of the containers that have ended well."""
        self.carried: dict[str, list[str]] = {}
        """Of each Job: its steps."""
        self.handed_in: dict[str, str] = {}
        """What steps handed in at the endpoint, by the ConfigMap's name."""
        self.items: dict[str, list[Object | None]] = {}
        """Of each Indexed Job, the pod with which each of its items ended."""
        self.created: Counter[str] = Counter()
        self.attempts: Counter[Part] = Counter()
        self.held: dict[str, int] = {}
        """Of Jobs whose pods begin no step that they have not: the place of the first of these."""
        self.unbegun: set[Part] = set()
        """Steps whose turn came in a pod that ended before they began."""
        self.done: dict[Part, Object] = {}
        """Outputs of the steps, and of the items of steps, that have truly succeeded."""
        # What the operator holds.
        self.cached_jobs: dict[str, Object] = {}
        self.cached_pods: dict[str, list[Object]] = {}
        self.nested = Nested(self)
        self.earlier: dict[str, Object] | None = None
        """Outputs that another run has of every step that is looked up; None where there is no such run."""
        self.armed: Armed | Hindrance | None = None
        self.asked = Asked(began=EPOCH)
        # What it wrote.
        self.rows: tuple[Row, ...] = ()
        self.verdict: Phase | None = None
        self.wake_at: float | None = EPOCH

    # The operator.

    def view(self, **more: Any) -> View:
        """What the operator's cache shows."""
        runs = dict(self.nested.cached)
        return View(jobs=dict(self.cached_jobs), pods=dict(self.cached_pods), armed=self.armed, runs=runs, **more)

    def reconcile(
        self,
        refuse: Callable[[str], bool] = lambda _: False,
        crash_after: int | None = None,
        conflict: bool = False,
        explanation: str = "",
        secrets: Armed | Hindrance | None = ARMED,
        room: int | None = None,
    ) -> Plan | None:
        """One reconcile, as the controller does it.

        Args:
            refuse: whether the API server refuses a Job of this name.
            crash_after: the number of writes after which the operator ends.
            conflict: whether somebody else wrote the run's status just before.
            explanation: what events say of a Job without a pod.
            secrets: what comes of it if the run asks for its secrets; None while that is not known.
            room: how many Jobs the environment has room for; None where nothing bounds them.
        """
        self.budget = crash_after
        if self.verdict is not None:
            self.delete(overstayed((), self.view()))
            self.nested.end_runs()
            return None
        self.adopted = self.took_over = self.told = False
        proven: set[str] = set()
        explained: dict[str, str] = {}
        refused: dict[str, Refusal] = {}
        objects: dict[ObjectRef, Seen] = {}
        gathered: dict[str, dict[int, Object]] = {}
        results: dict[str, str | None] = {}
        recalled: dict[str, Earlier | None] = {}
        for _ in range(TURNS + len(self.inputs.revision.steps)):
            seen: dict[str, Any] = {"proven": frozenset(proven), "refused": refused, "explained": explained}
            view = self.view(**seen, room=room, gathered=gathered, results=results, objects=objects, recalled=recalled)
            made = plan(self.inputs, self.rows, view, self.now, self.asked)
            assert room is None or len(made.create) <= room, "more Jobs than there is room for"
            if made.arm:
                assert made == Plan(made.rows, arm=True), "something is done before the secrets are at hand"
                if secrets is None:
                    return None
                self.armed = secrets
                continue
            if made.looks:
                assert not [*made.create, *made.start, *made.make], "nothing is done before the proof"
                objects |= {about: self.nested.look(about) for about in made.look}
                assert made.verdict is None
                results |= {name: self.handed_in.get(name) for name in made.fetch}
                recalled |= {key: self.recall(key) for key in made.recall}
                for one in made.gather:
                    ends = dict(enumerate(self.items.get(one.job, ())))
                    gathered[one.job] = {index: pod for index, pod in ends.items() if pod is not None}
                for name in made.prove:
                    self.sync(name)
                proven |= set(made.prove)
                explained |= dict.fromkeys(made.explain, explanation)
                continue
            fresh = {job["metadata"]["name"]: Refusal("no") for job in made.create if refuse(job["metadata"]["name"])}
            taken = [job for job in made.create if job["metadata"]["name"] not in fresh]
            self.create(taken, made)
            self.nested.create(made)
            room = None if room is None else room - len(taken)
            if fresh:
                refused |= fresh
                continue
            self.check_plan(made)
            self.nested.remove(made.remove)
            if not conflict:
                self.write(made)
                if not (self.adopted or self.took_over or self.told):  # these are news, and what follows begins behind
                    self.check_idempotent(made, proven, refused, explained, room, results, objects, recalled)
                self.stop(made.stop)
                self.hold_back(made.hold)
                self.nested.steer(made.steer)
                self.delete(made.delete, kill=made.kill)
            return made
        return None

    def recall(self, key: str) -> Earlier | None:
        """What another run has of a step."""
        if self.earlier is None:
            return None
        row = Row("x", Phase.SUCCEEDED, started_at=at(-9), finished_at=at(-5), outputs=self.earlier, cache=key)
        return Earlier("before", row)

    def spend(self) -> None:
        """Count one write of the operator; it may be its last."""
        if self.budget is not None:
            if self.budget == 0:
                raise CrashError
            self.budget -= 1

    def create(self, bodies: Collection[Object], made: Plan) -> None:
        """Create Jobs, and before them the items of Indexed ones; one that is there is adopted."""
        for _ in made.items:
            self.spend()
        for body in bodies:
            name = body["metadata"]["name"]
            self.spend()
            used = self.inputs.revision.steps[body["metadata"]["labels"][STEP_LABEL]].secrets
            assert not used or isinstance(self.armed, Armed), f"{name} began without its secrets"
            if name not in self.jobs:
                self.created[name] += 1
                assert self.created[name] == 1, f"I1: {name} was created before"
                labels = body["metadata"]["labels"]
                step, attempt = labels[STEP_LABEL], int(labels[ATTEMPT_LABEL])
                part = self.part_of(body)
                if any(step in names[1:] for names in self.carried.values()):
                    # Its turn may have come in a pod that it shared, and nobody may have seen it.
                    self.attempts[part] = min(self.attempts[part], attempt - 1)
                # A turn that came in a pod, and in which nothing began, may have been seen as an attempt, or not.
                self.attempts[part] += 0 if part in self.unbegun and attempt == self.attempts[part] else 1
                self.unbegun.discard(part)
                assert attempt == self.attempts[part], (
                    f"I1: attempt {attempt} of {part}, after {self.attempts[part] - 1}"
                )
                self.check_begin(step, made)
                self.turns[name] = []
                pod = body["spec"]["template"]["spec"]
                self.carried[name] = [one["name"] for one in (*pod.get("initContainers", ()), *pod["containers"])]
                self.check_values(body)
                if body["spec"].get("completionMode") == "Indexed":
                    self.items[name] = [None] * body["spec"]["completions"]
                    held = {key for one in made.items for key in one["data"]}
                    assert held >= {str(index) for index in range(len(self.items[name]))}, "items without a file"
                self.jobs[name] = JobBuilder.of(body, self.now - EPOCH).build()
                del self.jobs[name]["spec"]
            else:
                self.adopted = True
            self.sync(name)

    def check_begin(self, step: str, made: Plan) -> None:
        """I3: what a step follows has ended as asked, and nothing new begins in a run that ends before its time."""
        revision, rows = self.inputs.revision, {row.name: row for row in made.rows}
        for one in revision.follows[step]:
            row = rows[one.step]
            assert row.final, f"I3: {step} began before {one.step} had ended"
            assert one.on is On.COMPLETED or str(row.phase) == str(one.on), (
                f"I3: {step} began, and {one.step} is {row.phase}"
            )
            assert one.on is not On.SUCCEEDED or self.truly_done(row), f"I3: {one.step} never succeeded"
        last = step in revision.final
        assert not last or all(row.final for row in made.rows if row.name not in revision.final), f"{step} is not last"
        assert self.asked.cancel is None or (last and self.asked.cancel is Cancel.GRACEFUL), (
            f"{step} begins all the same"
        )
        assert not self.asked.suspend or self.asked.cancel or self.late(), f"{step} begins in a suspended run"

    def asking(self) -> list[str]:
        """Steps that wait for a decision, as people see them."""
        return [row.name for row in self.rows if row.phase is Phase.WAITING and row.reason in ASKING]

    def decide(self, step: str, decision: Decision, by: str) -> None:
        """Somebody decides; the last word counts until it is seen."""
        self.asked = replace(self.asked, decisions={**self.asked.decisions, step: Decided(decision, by=by)})

    def passed(self, row: Row) -> bool:
        """Whether an approval or a wait may have let the run go on."""
        step, begun = self.inputs.revision.steps[row.name], from_rfc3339(row.started_at or "")
        if step.approval is not None:
            decided, limit = self.asked.decisions.get(row.name), step.approval.timeout
            if decided is not None and may_decide(step.approval.approvers, decided):
                return decided.decision is Decision.APPROVE
            silent = limit is not None and self.now >= begun + parse_duration(limit)
            return silent and step.approval.on_timeout == "Approve"
        assert step.wait is not None
        if step.wait.duration is not None:
            return self.now >= begun + parse_duration(step.wait.duration)
        return self.now >= from_rfc3339(step.wait.until or "")

    def check_values(self, body: Object) -> None:
        """What a step uses of another reaches it whole, however little of it the status shows."""
        step = self.inputs.revision.steps[body["metadata"]["labels"][STEP_LABEL]]
        used = [text.split(".")[1] for text in step.args or ()]
        pod = body["spec"]["template"]["spec"]
        first, *_ = [one for one in (*pod.get("initContainers", ()), *pod["containers"]) if one["name"] == step.name]
        for name, value in zip(used, first.get("args") or (), strict=True):
            if (name, None) in self.done:
                assert value == self.done[name, None]["n"], f"{step.name} got another output of {name}"

    def truly_done(self, row: Row) -> bool:
        """Whether a step has succeeded, whatever the status says; of a fan-out, enough of its items."""
        if self.inputs.revision.kinds.get(row.name) in BEGUN_ONCE:
            return row.final or self.passed(row)
        if row.items is None:
            return (row.name, None) in self.done or row.message == "no items"
        good = sum(1 for step, item in self.done if step == row.name and item is not None)
        fan = self.inputs.revision.steps[row.name].for_each
        assert fan is not None
        total = int(row.items["total"])
        return good >= total - tolerated(fan, total)

    def flat(self) -> list[Row]:
        """The rows of the status, those of fan-outs by item."""
        return self.flattened(self.rows)

    def flattened(self, rows: tuple[Row, ...]) -> list[Row]:
        """Rows, those of fan-outs by item."""
        identity = self.inputs.identity
        return list(flat(rows, partial(job_name, identity.name, identity.uid)))

    def late(self) -> bool:
        """Whether the run is out of time."""
        limit = self.inputs.revision.spec.timeout
        return limit is not None and self.now >= EPOCH + parse_duration(limit)

    def write(self, made: Plan) -> None:
        """Write the status."""
        self.spend()
        before = {row.name: row for row in self.rows}
        for row in made.rows:
            old = before.get(row.name)
            assert old is None or not old.final or old == row, f"I2: {row.name} had ended: {old} became {row}"
            assert row.reason != Reason.INVALID_TEMPLATE, f"what {row.name} uses was there: {row.message}"
            lost = row.reason == Reason.JOB_DELETED and row != old
            assert not lost or row.job not in self.jobs, f"a stale cache was believed: {row}"
            assert old is None or row.attempt >= old.attempt or row.phase is Phase.SKIPPED, f"attempts go back: {row}"
            if row.reused and (old is None or not old.reused):
                self.took_over = True
                assert not made.create, "something begins beside what is taken from another run"
                assert not self.attempts[row.name, None], f"{row.name} ran, and is said to be another run's"
                assert (bool(row.cache), row.reused) == (True, "before")
                self.done[row.name, None] = dict(row.outputs or {})
            if row.name in self.inputs.revision.kinds and row.final and row != old:
                self.told = True
            once = self.inputs.revision.kinds.get(row.name) in BEGUN_ONCE
            if once and row.phase is Phase.SUCCEEDED and row != old:
                assert self.passed(row), f"{row.name} let the run go on by itself: {row}"
        self.rows = tuple(Row.from_status(row.to_status()) for row in made.rows)
        if made.rests:
            at_work = [row for row in self.flat() if row.under_way and row.job is not None]
            assert not at_work, f"secrets are let go of while {at_work} may use them"
            assert made.verdict is None
            self.armed = None
        self.verdict = made.verdict
        self.wake_at = made.wake_at

    def stop(self, names: Collection[str]) -> None:
        """Have the pods of Jobs end; the Jobs stay until they have."""
        for name in names:
            self.spend()
            if name in self.jobs and not self.ask(name):
                self.jobs[name]["metadata"]["deletionTimestamp"] = to_rfc3339(self.now)
            self.sync(name)

    def hold_back(self, names: Collection[str]) -> None:
        """Have no step begin in the pods of Jobs that has not."""
        for name in names:
            self.spend()
            if name in self.jobs and not self.ended(name) and self.pods.get(name):
                step = self.inputs.revision.steps[self.step_of(name)]
                first = not self.turns[name] or has_begun(step, self.pods[name])
                self.held.setdefault(name, len(self.turns[name]) + first)
                self.pods[name] = [{**pod, "metadata": {**pod["metadata"], "labels": {}}} for pod in self.pods[name]]
            self.sync(name)

    def stuck(self, name: str) -> bool:
        """Whether the step whose turn it is in a pod is held back."""
        return len(self.turns[name]) >= self.held.get(name, len(self.members(name)))

    def ask(self, name: str) -> bool:
        """Give pods that can be asked to end a deadline that is over; whether the Job need not be deleted."""
        told = orders(self.jobs[name], self.pods.get(name, ()), self.now)
        for pod, seconds in told.deadlines:
            before = pod["spec"].get("activeDeadlineSeconds")
            assert seconds >= 1, "the API server takes no less"
            assert before is None or seconds < before, "nor a later end"
            self.pods[name] = [{**one, "spec": {"activeDeadlineSeconds": seconds}} for one in self.pods[name]]
        return not told.delete

    def leaving(self) -> list[str]:
        """Jobs that are being deleted, with their pods."""
        return [name for name, job in self.jobs.items() if "deletionTimestamp" in job["metadata"]]

    def told_to_end(self, name: str) -> bool:
        """Whether the pods of a Job were asked to end."""
        return given_until(self.jobs[name], self.pods.get(name, ()), self.now) is not None

    def delete(self, names: Collection[str], *, kill: bool = False) -> None:
        """End Jobs that nobody waits for: their pods are asked to end, or they are deleted with them."""
        for name in names:
            self.spend()
            if name in self.jobs:
                until = given_until(self.jobs[name], self.pods.get(name, ()), self.now)
                ending = until is not None and self.now < until
                if not ending and (kill or until is not None or not self.ask(name)):
                    self.remove(name)
            self.sync(name)

    def restart(self) -> None:
        """The operator starts anew and lists everything."""
        self.budget = None
        if not isinstance(self.armed, Armed):  # what is at hand is read from its record
            self.armed = None
        self.cached_jobs, self.cached_pods = {}, {}
        self.nested.cached = copy.deepcopy(self.nested.runs)
        for name in self.jobs:
            self.sync(name)

    def upgrade(self) -> None:
        """Another release of the operator goes on, which has steps share pods by other rules."""
        spec = self.inputs.revision.spec
        other = "Never" if self.inputs.revision.shared else "Auto"
        revision = load_revision(self.inputs.revision.name, spec.model_copy(update={"fuse": other}))
        self.inputs = replace(self.inputs, revision=revision)
        self.restart()

    def sync(self, name: str) -> None:
        """The cache learns the truth about one Job and its pods."""
        job = self.jobs.get(name)
        if job is None:
            held = self.cached_jobs.pop(name, None)
            if held is not None:
                self.cached_pods.pop(held["metadata"]["uid"], None)
            return
        self.cached_jobs[name] = {"metadata": job["metadata"], "status": copy.deepcopy(job["status"])}
        if name in self.items:
            self.cached_jobs[name]["status"]["indexes"] = self.tally(name)
        self.cached_pods[job["metadata"]["uid"]] = copy.deepcopy(self.pods.get(name, []))

    # What must hold of every plan.

    def check_plan(self, made: Plan) -> None:
        """A plan speaks of every step, in order, and never leaves a run with nothing to wake it."""
        assert [row.name for row in made.rows] == list(self.inputs.revision.follows)
        assert (made.verdict is not None) == all(row.final for row in made.rows)
        if made.verdict is not None:
            assert not made.create
            self.check_verdict(made)
        elif any(row.reason in (Reason.APPROVAL, Reason.APPROVAL_FORBIDDEN) for row in made.rows):
            pass  # a person is waited for
        elif not any(row.under_way for row in self.flattened(made.rows)) and not self.asked.suspend:
            assert made.wake_at is not None, "the run waits for nothing, for ever"

    def check_verdict(self, made: Plan) -> None:
        """How a run ended follows from how its steps did, and from who asked for its end."""
        revision, rows = self.inputs.revision, {row.name: row for row in made.rows}
        answers = [
            (one.step, name) for name, before in revision.follows.items() for one in before if one.on is On.FAILED
        ]
        answered = {step for step, name in answers if rows[name].phase is Phase.SUCCEEDED}
        failed = {row.name for row in made.rows if row.phase is Phase.FAILED} - (answered - revision.final)
        cut = any(row.reason == Reason.RUN_DEADLINE_EXCEEDED for row in made.rows)
        if any(row.reason == Reason.CANCELLED for row in made.rows):
            assert self.asked.cancel is not None
            assert made.verdict is (Phase.FAILED if cut else Phase.CANCELLED)
        else:
            assert made.verdict is (Phase.FAILED if failed or cut else Phase.SUCCEEDED), made.rows
        assert not cut or self.late()

    def check_idempotent(
        self,
        made: Plan,
        proven: set[str],
        refused: dict[str, Refusal],
        explained: dict[str, str],
        room: int | None,
        results: dict[str, str | None],
        objects: dict[ObjectRef, Seen],
        recalled: dict[str, Earlier | None],
    ) -> None:
        """Planning on the plan's own result does nothing more."""
        results = {**results, **{row.result: self.handed_in[row.result] for row in made.rows if row.result}}
        seen: dict[str, Any] = {"proven": frozenset(proven), "refused": refused, "explained": explained}
        view = self.view(**seen, room=room, results=results, objects=objects, recalled=recalled)
        again = plan(self.inputs, self.rows, view, self.now, self.asked)
        if (again.explain or again.look) and not again.prove:  # of what was just created nothing is known
            return
        assert not [*again.create, *again.start, *again.make], "planning again creates more"
        assert not again.prove, "planning again asks for a proof"
        assert not again.gather, "planning again reads what items left"
        assert again.wake_at is None or again.wake_at > self.now, (
            "I10: it is to be looked at again at once, for nothing"
        )
        assert tuple(Row.from_status(row.to_status()) for row in again.rows) == self.rows, "planning again changes rows"

    def check_end(self) -> None:
        """I7: the rows of an ended run say what the children showed."""
        assert self.verdict is not None
        # Of a pod that several steps share, nobody may have seen how far it came; an object that a cancelled run has
        # deleted is not found again where its status was not written then.
        objects = {name for name, kind in self.inputs.revision.kinds.items() if kind is Kind.RESOURCE}
        unseen = {*self.inputs.revision.linked, *objects}
        for row in self.rows:
            if row.phase is Phase.SUCCEEDED:
                assert self.truly_done(row), f"{row.name} never succeeded"
                if self.inputs.revision.kinds.get(row.name) in BEGUN_ONCE:
                    continue
                if row.items is None and row.message != "no items":
                    told = orjson.loads(self.handed_in[row.result])["outputs"] if row.result else row.outputs or {}
                    assert told == self.done[row.name, None]
                    assert not row.result or row.outputs is None
                elif row.items is not None:
                    self.check_gathered(row)
            elif row.phase is Phase.SKIPPED and row.name not in unseen:
                begun = [part for part, count in self.attempts.items() if part[0] == row.name and count]
                assert not begun, f"{row.name} is said to be skipped, but began"
        for one in self.flat():
            if not one.final or one.phase in (Phase.SUCCEEDED, Phase.SKIPPED):
                continue
            policy = self.inputs.revision.retry(self.inputs.revision.steps[one.name])
            # An object that the end of a run has deleted is not found again where that was not written.
            lost = one.name in objects and one.reason in ENDING
            assert lost or self.attempts[one.name, one.item] <= one.attempt, one
            assert one.attempt - one.disruptions <= policy.limit + 1, one
            assert one.disruptions <= policy.infrastructure + 1, one

    def check_gathered(self, row: Row) -> None:
        """A fan-out's outputs are those of its items, in their order."""
        missed = {one.item for one in self.flat() if one.name == row.name and one.phase is not Phase.SUCCEEDED}
        for declared in self.inputs.revision.steps[row.name].outputs or ():
            for index in range((row.items or {})["total"]):
                if row.job is None and index in missed:  # it may have succeeded, and its Job been deleted unseen
                    continue
                value = (row.outputs or {}).get(declared.name, [None] * 99)[index]
                if row.job is not None and value is None and (row.items or {})["failed"]:
                    continue  # likewise, of an Indexed Job: its pods went, and with them what they told
                assert value == self.done.get((row.name, index), {}).get(declared.name), (row, index)

    # The world.

    def live(self) -> list[str]:
        """Jobs that may still have a pod that has not ended."""
        return [name for name in self.jobs if not self.ended(name)]

    def ended(self, name: str) -> bool:
        """Whether a Job's end is certain."""
        phases = {pod["status"]["phase"] for pod in self.pods.get(name, ())} if name not in self.items else set()
        return bool(phases & {"Succeeded", "Failed"}) or "conditions" in self.jobs[name]["status"]

    def members(self, name: str) -> list[str]:
        """The steps that a Job runs."""
        return self.carried[name]

    def part_of(self, job: Object) -> Part:
        """The step, and the item of it, whose attempt a Job is, or whose turn it is in it."""
        if len(self.turns.get(job["metadata"]["name"], ())):
            return self.step_of(job["metadata"]["name"]), None
        labels = job["metadata"]["labels"]
        return labels[STEP_LABEL], int(labels[ITEM_LABEL]) if ITEM_LABEL in labels else None

    def step_of(self, name: str) -> str:
        """The step whose attempt a Job is, or whose turn it is in it."""
        return self.members(name)[len(self.turns.get(name, ()))]

    def pod(self, name: str, change: Callable[[PodBuilder], PodBuilder]) -> None:
        """The kubelet tells of a Job's one pod."""
        if self.stuck(name):
            self.keep_back(name, change)
            return
        made = change(PodBuilder(self.step_of(name), f"{name}-pod")).build()
        for held in self.pods.get(name, ()):  # its kubelet began with it once
            made["spec"] = {**held["spec"], **made["spec"]}
            made["status"] |= {key: held["status"][key] for key in ("startTime",) if key in held["status"]}
        self.pods[name] = [self.shared(name, made) if len(self.members(name)) > 1 else made]

    def keep_back(self, name: str, change: Callable[[PodBuilder], PodBuilder]) -> None:
        """The kubelet tells of a pod whose next step does not begin: that it is held, or what ended the pod."""
        (pod,) = self.pods[name]
        told = change(PodBuilder(self.step_of(name), f"{name}-pod")).build()["status"]
        status = {**pod["status"], "conditions": told.get("conditions", [])}
        if told.get("phase") == "Failed":
            status["phase"] = "Failed"
            self.unbegun.add((self.step_of(name), None))
        waits = {"waiting": {"reason": "CreateContainerConfigError", "message": "missing value"}}
        names = [self.step_of(name)]
        for key in ("initContainerStatuses", "containerStatuses"):
            status[key] = [{**one, "state": waits} if one["name"] in names else one for one in status[key]]
        self.pods[name] = [{**pod, "status": status}]

    def shared(self, name: str, pod: Object) -> Object:
        """A pod that several steps share, by what the container does whose turn it is."""
        names, done, status = self.members(name), self.turns[name], pod["status"]
        pod["metadata"]["labels"] = {} if name in self.held else {GOES_ON_LABEL: "params"}
        last = len(done) == len(names) - 1
        states = [*done, (status.get("containerStatuses") or [{"state": {}}])[0]["state"]]
        if not last and status["phase"] == "Succeeded":
            done.append(states[-1])
            follower = names[len(done)]
            if not self.stuck(name):
                self.attempts[follower, None] = max(1, self.attempts[follower, None])
        if not last and status["phase"] != "Failed":
            status["phase"] = "Pending"
        states += [{"waiting": {"reason": "PodInitializing"}}] * (len(names) - len(states))
        found = [{"name": one, "imageID": "", "state": state} for one, state in zip(names, states, strict=True)]
        status |= {"initContainerStatuses": found[:-1], "containerStatuses": found[-1:]}
        return pod

    def seconds(self) -> float:
        """Seconds since the epoch of the tests."""
        return self.now - EPOCH

    def given_up(self, name: str) -> bool:
        """Whether the status says that a Job's attempt is over."""
        if len(names := self.members(name)) > 1:
            rows = {row.name: row for row in self.rows}
            members = [rows[one] for one in names if one in rows]
            return any(
                (row.job == name and row.phase is not Phase.SUCCEEDED and not row.under_way)
                or (row.attempt and row.job != name)
                for row in members
            )
        part, attempt = self.part_of(self.jobs[name]), int(self.jobs[name]["metadata"]["labels"][ATTEMPT_LABEL])
        whole = {row.name: row for row in self.rows}.get(part[0])
        if part[1] is not None and whole is not None and whole.final:
            return True
        row = {(row.name, row.item): row for row in self.flat()}.get(part)
        return row is not None and (
            row.final or row.attempt > attempt or (row.attempt == attempt and not row.under_way)
        )

    def succeed(self, name: str, *, silent: bool = False) -> None:
        """A pod ends well, with the outputs that its step declares, unless it is silent."""
        if self.stuck(name):
            self.pod(name, PodBuilder.running)
            return
        step, part = self.step_of(name), self.part_of(self.jobs[name])
        declared = self.inputs.revision.steps[step].outputs or ()
        outputs = {} if silent else {one.name: f"{name}/{one.name}" for one in declared}
        if name in self.items:
            pod = PodBuilder(step).succeeded(outputs, began=self.seconds(), ended=self.seconds())
            index = self.item_ends(name, pod.build())
            if not silent or not declared:
                self.done[step, index] = outputs
            return
        if self.inputs.revision.steps[step].results == "Endpoint" and outputs:
            outputs = {key: value * 100 for key, value in outputs.items()}  # more than the status shows
            self.handed_in[result_name(name, step)] = orjson.dumps({"outputs": outputs}).decode()
            self.pod(name, lambda pod: pod.succeeded(began=self.seconds(), ended=self.seconds()))
        else:
            self.pod(name, lambda pod: pod.succeeded(outputs, began=self.seconds(), ended=self.seconds()))
        if not silent or not declared:
            self.done[part] = outputs

    def overdue(self) -> list[str]:
        """Jobs whose pods a kubelet ends now, since their deadline is over."""
        return [name for name in self.live() if any(map(self.is_overdue, self.pods.get(name, ())))]

    def is_overdue(self, pod: Object) -> bool:
        """Whether a pod's deadline is over."""
        end = deadline_of(pod)
        return end is not None and self.now >= end

    def end_in_time(self, name: str, how: str) -> None:
        """A kubelet ends a pod: what runs in it dies, exits with 0 in the middle, or tells its result before."""
        step, part = self.step_of(name), self.part_of(self.jobs[name])
        began, (pod,) = self.seconds(), self.pods[name]
        if not has_begun(self.inputs.revision.steps[step], [pod]):
            self.unbegun |= {part} if self.turns.get(name) else set()
            self.pods[name] = [{**pod, "status": {**pod["status"], "phase": "Failed", "reason": "DeadlineExceeded"}}]
            return
        declared = self.inputs.revision.steps[step].outputs or ()
        if how != "tells":
            code = 0 if how == "mute" else 143
            self.pod(name, lambda pod: pod.failed(code, began=began, ended=began).gone_bad("DeadlineExceeded"))
            return
        self.done[part] = outputs = {one.name: f"{name}/{one.name}" for one in declared}
        self.pod(name, lambda pod: pod.succeeded(outputs, began=began, ended=began).gone_bad("DeadlineExceeded"))

    def fail(self, name: str, change: Callable[[PodBuilder], PodBuilder], *, again: bool) -> None:
        """A pod ends badly.

        Args:
            name: of its Job.
            change: how.
            again: whether an Indexed Job has another pod for the item.
        """
        if name not in self.items:
            self.pod(name, change)
        elif again:
            self.pods[name] = []
        else:
            self.item_ends(name, change(PodBuilder(self.step_of(name))).build())

    def item_ends(self, name: str, pod: Object) -> int:
        """The next item of an Indexed Job ends; its position. The Job controller draws its conclusion."""
        items = self.items[name]
        index = items.index(None)
        items[index] = pod
        self.pods[name] = []
        fan = self.inputs.revision.steps[self.step_of(name)].for_each
        assert fan is not None
        bad = sum(1 for one in items if one is not None and one["status"]["phase"] == "Failed")
        builder = JobBuilder()
        builder.body = self.jobs[name]
        if fan.fail_fast and bad > tolerated(fan, len(items)):
            builder.failed("MaxFailedIndexesExceeded", seconds=self.seconds())
        elif None not in items:
            builder.failed("FailedIndexes", seconds=self.seconds()) if bad else builder.complete(self.seconds())
        return index

    def tally(self, name: str) -> Object:
        """What the cache keeps of where an Indexed Job's items stand."""
        ends: dict[str, list[str]] = {"Succeeded": [], "Failed": []}
        for index, pod in enumerate(self.items[name]):
            if pod is not None:
                ends[pod["status"]["phase"]].append(str(index))
        told = {"completedIndexes": ",".join(ends["Succeeded"]), "failedIndexes": ",".join(ends["Failed"])}
        active = len(self.pods.get(name, ()))
        status = {**self.jobs[name]["status"], **told, "active": active}
        return tally({"spec": {"completions": len(self.items[name])}, "status": status})

    def settle(self, name: str) -> None:
        """The Job controller draws the conclusion from a pod that has ended."""
        for pod in self.pods.get(name, ()):
            phase = pod["status"]["phase"]
            if phase in ("Succeeded", "Failed") and "conditions" not in self.jobs[name]["status"]:
                builder = JobBuilder()
                builder.body = self.jobs[name]
                builder.complete(self.seconds()) if phase == "Succeeded" else builder.failed(seconds=self.seconds())

    def reap_pod(self, name: str) -> None:
        """A pod of a settled Job goes."""
        if "conditions" in self.jobs[name]["status"]:
            self.pods[name] = []

    def remove(self, name: str) -> None:
        """A Job goes, with its pods."""
        del self.jobs[name]
        self.pods.pop(name, None)
        self.items.pop(name, None)
