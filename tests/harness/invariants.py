"""What must hold after any fault: checked on a recorded history and on what is there at the end.

I1 at most one Job per (run UID, step, item, attempt), ever. I2 every run reaches exactly one terminal state
and never leaves it. I3 no step starts before the pods of all that it needs have succeeded. I4 nothing
without a live owner is left, and no Job of an ended run is active. I5 nothing that Vault gave for a run outlives it
beyond a bound (checked on what `tests.harness.holdings` saw in Vault). I7 a run's status says what its Jobs and
pods show, and nobody rewrites what has not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from tests.harness.api import Object, condition
from tests.harness.history import (
    AttemptKey,
    Cluster,
    History,
    attempt_key,
    job_ended,
    owner_uid,
    pod_phase,
    run_ended,
)
from tests.harness.kinds import (
    CLAIMS,
    CONFIGMAPS,
    ENVIRONMENT_UID,
    ENVIRONMENTS,
    INDEX,
    JOBS,
    PIPELINES,
    PODS,
    REVISIONS,
    RUN_UID,
    RUNS,
    SECRETS,
)
from tests.harness.needs import needs
from tests.harness.stages import ENDED, began, outputs, shared_row, steps_of, steps_of_job, succeeded_steps

OWNED = (JOBS, PODS, SECRETS, CLAIMS, CONFIGMAPS)
OURS = ("app.kubernetes.io/managed-by", "dataops-operator")
OUTLIVES = 120.0
"""Seconds by which a token or lease may outlive its run: what docs/secrets.md promises."""
_TICK = 2.0
"""Seconds by which two clocks, one of them in whole seconds, and the interval of looking may differ."""


@dataclass(frozen=True)
class Violation:
    """One broken invariant, as a sentence with the objects' names."""

    invariant: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


def check_all(history: History, cluster: Cluster) -> list[Violation]:
    """Check I1 to I4 and I7 on a settled namespace; an empty list is what a test asserts."""
    return [
        *one_job_per_attempt(history),
        *one_terminal_state(history, cluster),
        *needs_first(history, cluster),
        *no_orphans(cluster),
        *status_matches_children(history, cluster),
    ]


def one_job_per_attempt(history: History) -> list[Violation]:
    """I1, and that each Job of a run says by its labels which attempt it is (or nothing could be counted)."""
    found: list[Violation] = []
    made: dict[AttemptKey, list[str]] = {}
    for changes in history.by_object(JOBS).values():
        job = changes[0].obj
        try:
            key = attempt_key(job)
        except KeyError as missing:
            # What a step made as an object of another kind is none of the run's own Jobs, and has this label alone.
            if _owned_by_run(job) and "app.kubernetes.io/component" not in job["metadata"].get("labels", {}):
                found.append(Violation("I1", f"Job {_name(job)} belongs to a run and lacks the label {missing}"))
            continue
        if owner_uid(job) != key[0]:
            found.append(Violation("I1", f"Job {_name(job)} is labelled for run {key[0]} and owned by another"))
        made.setdefault(key, []).append(_name(job))
    for (run, step, item, attempt), jobs in made.items():
        if len(jobs) > 1:
            what = f"step {step}" + (f" item {item}" if item else "")
            found.append(
                Violation("I1", f"run {run}, {what}, attempt {attempt}: {len(jobs)} Jobs were created, {jobs}")
            )
    return found


def one_terminal_state(history: History, cluster: Cluster) -> list[Violation]:
    """I2."""
    found = []
    for changes in history.by_object(RUNS).values():
        verdict: tuple[str, str] | None = None
        for change in changes:
            run = change.obj
            state = (condition(run, "Succeeded").get("status", ""), run.get("status", {}).get("phase", ""))
            if verdict and state != verdict:
                message = f"run {_name(run)} had ended as {verdict} and became {state}"
                found.append(Violation("I2", f"{message} at version {change.version}"))
                break
            if run_ended(run):
                verdict = state
    for run in cluster.of(RUNS):
        if not run_ended(run):
            phase = run.get("status", {}).get("phase")
            found.append(Violation("I2", f"run {_name(run)} never ended; its phase is {phase}"))
    return found


def jobless(spec: Object) -> set[str]:
    """The steps that are no containers: no Job of theirs, and no pod, says how they ended."""
    kinds = {"approval", "wait", "pipeline", "resource"}
    return {one["name"] for one in [*spec.get("steps", []), *spec.get("finally", [])] if kinds & one.keys()}


def needs_first(history: History, cluster: Cluster) -> list[Violation]:
    """I3, by the versions at which the API server committed the Job and the pods' ends."""
    specs = _specs(history, cluster)
    ended = _taken_over(history)
    for change in history.of(PODS):
        labels = change.obj["metadata"].get("labels", {})
        for step in succeeded_steps(change.obj) if RUN_UID in labels else ():
            key = (labels[RUN_UID], step)
            ended[key] = min(change.version, ended.get(key, change.version))
    found = []
    over = _ends(history)
    for changes in history.by_object(JOBS).values():
        first = changes[0]
        if first.type != "ADDED" or not _labelled(first.obj):
            continue
        run, step, _, _ = attempt_key(first.obj)
        if run not in specs:
            found.append(Violation("I3", f"Job {_name(first.obj)}: no Pipeline is known for run {run}"))
            continue
        for other in sorted(_over_before(specs[run], step)):
            if max(over.get((run, other), [0])) > first.version:
                found.append(Violation("I3", f"Job {_name(first.obj)} was created before step {other} had ended"))
        for need in sorted(needs(specs[run]).get(step, set()) - jobless(specs[run])):
            if ended.get((run, need), first.version + 1) > first.version:
                found.append(Violation("I3", f"Job {_name(first.obj)} was created before step {need} had succeeded"))
    return found


def _taken_over(history: History) -> dict[tuple[str, str], int]:
    """For each step that a run took over from another, the version at which its status said so."""
    out: dict[tuple[str, str], int] = {}
    for change in history.of(RUNS):
        for row in change.obj.get("status", {}).get("steps", []):
            if row.get("reusedFrom"):
                out.setdefault((change.obj["metadata"]["uid"], row["name"]), change.version)
    return out


_NEVER = 1 << 62


def _ends(history: History) -> dict[tuple[str, str], list[int]]:
    """For each run and step, the version at which each of its pods had ended or was gone."""
    out: dict[tuple[str, str], list[int]] = {}
    for changes in history.by_object(PODS).values():
        labels = changes[0].obj["metadata"].get("labels", {})
        for step in steps_of(changes[0].obj) if RUN_UID in labels else ():
            if len(steps_of(changes[0].obj)) > 1 and not any(began(one.obj, step) for one in changes):
                continue  # it shared a pod that ended before its turn came
            over = (
                one.version
                for one in changes
                if one.type == "DELETED" or pod_phase(one.obj) in ENDED or step in succeeded_steps(one.obj)
            )
            out.setdefault((labels[RUN_UID], step), []).append(next(over, _NEVER))
    return out


def _over_before(spec: Object, step: str) -> set[str]:
    """The steps of which no pod may be at work when a step begins: those that it follows, and all for a last one."""
    last = {one["name"]: one for one in spec.get("finally", [])}
    found: Object = last.get(step) or next((one for one in spec["steps"] if one["name"] == step), {})
    named = {*found.get("needs", []), *(one["step"] for one in found.get("after", []))}
    return named | ({one["name"] for one in spec["steps"]} if step in last else set())


def no_orphans(cluster: Cluster) -> list[Violation]:
    """I4; what an Environment made in a namespace of its own has no owner there, but says whose it is."""
    found = []
    live = {obj["metadata"]["uid"] for kind in (PIPELINES, RUNS, ENVIRONMENTS, *OWNED) for obj in cluster.of(kind)}
    ended_runs = {run["metadata"]["uid"] for run in cluster.of(RUNS) if run_ended(run)}
    for kind in OWNED:
        for obj in cluster.of(kind):
            labels = obj["metadata"].get("labels", {})
            if RUN_UID not in labels and labels.get(OURS[0]) != OURS[1]:
                continue
            owner = owner_uid(obj) or labels.get(ENVIRONMENT_UID, "")
            if owner not in live:
                said = f"its owner {owner} is gone" if owner else "it has no owner"
                found.append(Violation("I4", f"{kind.name} {_name(obj)} is left over: {said}"))
    for job in cluster.of(JOBS):
        if owner_uid(job) in ended_runs and not job_ended(job):
            found.append(Violation("I4", f"Job {_name(job)} is active though its run has ended"))
    for pod in cluster.of(PODS):
        run = pod["metadata"].get("labels", {}).get(RUN_UID)
        if run in ended_runs and pod_phase(pod) not in ("Succeeded", "Failed"):
            found.append(Violation("I4", f"Pod {_name(pod)} is {pod_phase(pod)} though its run has ended"))
    return found


@dataclass
class Held:
    """A token or a lease of a run, as it was seen in Vault; times in seconds since the epoch.

    Attributes:
        id: accessor, or id of the lease.
        run: the run's name.
        lease: whether it is a lease, which was got with a token.
        ttl: seconds that it lived when it was given.
        first: when it was first seen.
        last: when it was last seen.
        recorded: whether any record of the operator ever named it.
    """

    id: str
    run: str
    lease: bool
    ttl: float
    first: float
    last: float
    recorded: bool = False


def nothing_outlives(held: Sequence[Held], ends: Mapping[str, float], bound: float = OUTLIVES) -> list[Violation]:
    """I5: what Vault gave for a run is gone within a bound of its end, whatever happened to the operator.

    A token that no record names is one of which nobody can know, since its answer was lost on the way or with the
    process that had it: nobody uses it, nobody renews it, and it ends with the ttl of its role. Nothing is leased with
    such a one.

    Args:
        held: what was seen in Vault until the end.
        ends: when each run ended, seconds since the epoch.
        bound: seconds.
    """
    found = []
    for one in held:
        what = f"{'lease' if one.lease else 'token'} {one.id} of run {one.run}"
        if one.run not in ends:
            found.append(Violation("I5", f"{what}: the run never ended, or there is none"))
        elif one.recorded or one.lease:
            late = one.last - ends[one.run]
            if late > bound:
                found.append(Violation("I5", f"{what} outlived it by {late:.0f} s, {bound:.0f} are allowed"))
        elif (lived := one.last - one.first) > one.ttl + _TICK:
            found.append(
                Violation("I5", f"{what} is in no record and lived for {lived:.0f} s, its ttl is {one.ttl:.0f}")
            )
    return found


def status_matches_children(history: History, cluster: Cluster) -> list[Violation]:
    """I7, first half, for each run: steps, attempts, outputs and verdict against Jobs and pods."""
    jobs: dict[tuple[str, str], dict[str, Object]] = {}
    for uid, changes in history.by_object(JOBS).items():
        job = changes[-1].obj
        if _labelled(job):
            run_uid = attempt_key(job)[0]
            for one in steps_of_job(job):
                jobs.setdefault((run_uid, one), {})[uid] = job
    pods = [changes[-1].obj for changes in history.by_object(PODS).values()]
    there = {pod["metadata"]["uid"] for pod in cluster.of(PODS)}
    specs = _specs(history, cluster)
    found = []
    for held in cluster.of(CONFIGMAPS):
        labels = held["metadata"].get("labels", {})
        if RUN_UID in labels and "result" in held.get("data", {}):  # handed in at the endpoint, instead of by the pod
            told = {"terminated": {"message": held["data"]["result"]}}
            for uid, job in jobs.get((labels[RUN_UID], labels["dataops.dev/step"]), {}).items():
                pods.append(_telling(job, uid, told))
    for run in cluster.of(RUNS):
        for row in run.get("status", {}).get("steps", []):
            made = jobs.get((run["metadata"]["uid"], row["name"]), {})
            if row["name"] in jobless(specs.get(run["metadata"]["uid"], {})):
                found += [_broken(run, row, "has no container, and a Job all the same")] if made else []
                continue
            said = _items(row, made, pods) if "items" in row else _row(row, made, pods, there)
            found += [_broken(run, row, one) for one in said]
        verdict = _verdict(run, specs.get(run["metadata"]["uid"], {}))
        found += [Violation("I7", f"run {_name(run)}: {said}") for said in verdict]
    return found


def unchanged(before: Cluster, after: Cluster) -> list[Violation]:
    """I7, second half: nobody wrote to a run, a Pipeline, a revision or a Job between the two readings."""
    old, new = (cluster.versions(RUNS, PIPELINES, REVISIONS, JOBS) for cluster in (before, after))
    return [
        Violation(
            "I7",
            f"{name} was written to though nothing had changed: version {old.get(name)} -> {new.get(name)}",
        )
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _items(row: Object, jobs: dict[str, Object], pods: list[Object]) -> list[str]:
    """What the row of a fan-out says wrongly: how many of its items succeeded, and with which outputs."""
    good: dict[int, list[Object]] = {}
    for uid, job in jobs.items():
        mine = [pod for pod in pods if owner_uid(pod) == uid and pod_phase(pod) == "Succeeded"]
        if job["spec"].get("completionMode") == "Indexed":
            for pod in mine:
                good.setdefault(int(pod["metadata"]["labels"][INDEX]), []).append(pod)
            continue
        if mine or condition(job, "Complete").get("status") == "True":
            good.setdefault(int(attempt_key(job)[2]), []).extend(mine)
    found = []
    if row["items"]["succeeded"] > len(good):
        found.append(f"says that {row['items']['succeeded']} items succeeded, and {len(good)} did")
    for name, values in outputs(row).items():
        for index, value in enumerate(values):
            told = [result.get(name) for pod in good.get(index, []) for result in _results(pod)]
            if value is not None and value not in told:
                found.append(f"has output {name}[{index}] = {value!r}, which no pod reported")
    return found


def _row(row: Object, jobs: dict[str, Object], pods: list[Object], there: set[str]) -> list[str]:
    """What a step's row says wrongly; `there` are the uids of pods that are not gone."""
    phase = row.get("phase")
    if row.get("reusedFrom"):
        return [f"was taken over, and there are Jobs: {sorted(jobs)}"] if jobs or phase != "Succeeded" else []
    if not jobs:
        return [f"is {phase} without any Job"] if phase in ("Running", "Succeeded") else []
    if any(len(steps_of_job(job)) > 1 for job in jobs.values()):
        return shared_row(row, jobs, pods)
    uid, job = max(jobs.items(), key=lambda item: attempt_key(item[1])[3])
    attempt = attempt_key(job)[3]
    found = []
    if row.get("attempt") != attempt:
        found.append(f"says attempt {row.get('attempt')}, the last Job is attempt {attempt}")
    if row.get("job") not in (None, job["metadata"]["name"]):
        found.append(f"names Job {row['job']}, the last one is {job['metadata']['name']}")
    mine = [pod for pod in pods if owner_uid(pod) == uid]
    phases = {pod_phase(pod) for pod in mine}
    complete = condition(job, "Complete").get("status") == "True"
    good = [pod for pod in mine if pod_phase(pod) in ENDED and row["name"] in succeeded_steps(pod)]
    if phase == "Succeeded" and not good and not complete:
        found.append(f"is Succeeded, its pods are {sorted(phases)}")
    if phase in ("Pending", "Waiting", "Running") and phases and phases <= {"Succeeded", "Failed"}:
        found.append(f"is {phase}, its pods have ended as {sorted(phases)}")
    left = {pod_phase(pod) for pod in mine if pod["metadata"]["uid"] in there}
    if phase == "Failed" and left == {"Running"} and not job_ended(job):
        found.append("is Failed, its pod runs")
    if phase == "Succeeded":
        found += _outputs_differ(row, [*good, *(pod for pod in mine if pod_phase(pod) == "Unknown")])
    return found


def _outputs_differ(row: Object, pods: list[Object]) -> list[str]:
    results = [result for pod in pods for result in _results(pod)]
    return [
        f"has output {name} = {value!r}, which no pod reported"
        for name, value in outputs(row).items()
        if not any(name in result and result[name] == value for result in results)
    ]


def _telling(job: Object, uid: str, state: Object) -> Object:
    """What stands for a pod of a Job that told its result otherwise."""
    owner = {"uid": uid, "controller": True}
    meta = {"name": job["metadata"]["name"], "uid": f"{uid}/result", "ownerReferences": [owner]}
    return {"metadata": meta, "status": {"phase": "Unknown", "containerStatuses": [{"state": state}]}}


def _results(pod: Object) -> list[dict[str, Any]]:
    found = []
    for status in pod.get("status", {}).get("containerStatuses", []):
        message = status.get("state", {}).get("terminated", {}).get("message")
        if message:
            found.append(orjson.loads(message).get("outputs", {}))
    return found


def _verdict(run: Object, spec: Object) -> list[str]:
    """What the run as a whole says wrongly."""
    status = run.get("status", {})
    succeeded = condition(run, "Succeeded").get("status")
    phases = {row["name"]: row.get("phase") for row in status.get("steps", [])}
    answered = {
        after["step"]
        for step in spec.get("steps", [])
        for after in step.get("after", [])
        if after["on"] == "Failed" and phases.get(step["name"]) == "Succeeded"
    }
    counting = {phase for name, phase in phases.items() if name not in answered}
    early = condition(run, "Succeeded").get("reason") in ("Cancelled", "RunDeadlineExceeded")
    found = []
    if succeeded == "True" and not counting <= {"Succeeded", "Skipped"}:
        found.append(f"it succeeded with steps {phases}")
    if succeeded == "False" and not early and phases and counting <= {"Succeeded", "Skipped"}:
        found.append("it failed though every step succeeded")
    if succeeded in ("True", "False") and condition(run, "Reconciling").get("status") == "True":
        found.append("it has ended and says Reconciling")
    if succeeded == "True" and condition(run, "Stalled").get("status") == "True":
        found.append("it succeeded and says Stalled")
    if status.get("observedGeneration") != run["metadata"]["generation"]:
        observed, generation = status.get("observedGeneration"), run["metadata"]["generation"]
        found.append(f"observedGeneration is {observed}, generation {generation}")
    return found


def _specs(history: History, cluster: Cluster) -> dict[str, Object]:
    """The Pipeline's spec of each run there ever was, by run UID: of the revision it is pinned to, if any."""
    pipelines = {obj["metadata"]["name"]: obj["spec"] for obj in cluster.of(PIPELINES)}
    revisions = {obj["metadata"]["name"]: obj.get("data", {}) for obj in cluster.of(REVISIONS)}
    found = {}
    for uid, changes in history.by_object(RUNS).items():
        run = changes[-1].obj
        pinned = revisions.get(run.get("status", {}).get("revision", ""), {})
        spec = pinned if "steps" in pinned else pinned.get("spec") or pipelines.get(run["spec"]["pipeline"])
        if spec:
            found[uid] = spec
    return found


def _broken(run: Object, row: Object, said: str) -> Violation:
    return Violation("I7", f"run {_name(run)}, step {row['name']} {said}")


def _labelled(job: Object) -> bool:
    try:
        attempt_key(job)
    except KeyError:
        return False
    return True


def _owned_by_run(obj: Object) -> bool:
    references = obj["metadata"].get("ownerReferences", [])
    return any(reference.get("kind") == RUNS.name for reference in references)


def _name(obj: Object) -> str:
    return f"{obj['metadata'].get('namespace', '')}/{obj['metadata']['name']}"
