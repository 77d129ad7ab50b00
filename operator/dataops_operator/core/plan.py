"""What a turn of planning goes by, and what it asks for: the words between `planner` and those who carry plans out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..api.conditions import Reason, truncate
from ..api.run import Cancel, Decision, Phase, RerunMode, StepDecision
from .credentials import Armed, Hindrance
from .names import CHANGED_BY_ANNOTATION
from .objects import ObjectRef, Seen
from .observe import Object
from .rows import Row
from .times import from_rfc3339


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the API server would not take what a step needs to begin.

    Attributes:
        message: in the API server's words.
        hopeless: whether it never would.
        reason: what it would not take, where the message tells of nothing better known.
    """

    message: str
    hopeless: bool = False
    reason: Reason = Reason.JOB_REFUSED


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person said to an approval.

    Attributes:
        decision: what.
        comment: why; empty where they did not say.
        by: who, as the API server knows them; empty where it does not say.
        groups: the groups, of those that are asked, that they are in.
    """

    decision: Decision
    comment: str = ""
    by: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What people ask of a run that is under way, and since when it is.

    Attributes:
        cancel: how it is to end before its time; None where it is not.
        suspend: whether nothing new of it may begin.
        by: who asked last, as the API server knows them; empty where that is not known.
        began: when the run was accepted, in seconds since the epoch; None where that is now.
        decisions: what was said to its approvals, by step.
        priority: which of those that wait comes first; None where it does not say.
        refresh: whether nothing is taken from a cache.
        again: names of steps that are not.
    """

    cancel: Cancel | None = None
    suspend: bool = False
    by: str = ""
    began: float | None = None
    decisions: Mapping[str, Decided] = field(default_factory=dict)
    priority: str | None = None
    refresh: bool = False
    again: frozenset[str] = frozenset()


def asked_of(run: Mapping[str, Any], jobs: Iterable[Object] = ()) -> Asked:
    """What people ask of a run.

    Args:
        run: the PipelineRun.
        jobs: its Jobs: they tell since when it is under way where its status does not yet.
    """
    spec, annotations = run["spec"], run["metadata"].get("annotations") or {}
    cancel = Cancel(spec["cancel"]) if spec.get("cancel") in set(Cancel) else None
    begun = [run["status"].get("startedAt"), *(job["metadata"].get("creationTimestamp") for job in jobs)]
    times = [from_rfc3339(text) for text in begun if text]
    by = annotations.get(CHANGED_BY_ANNOTATION, "") if cancel is not None else ""
    decisions = _decisions(spec["approvals"]) if spec.get("approvals") else {}
    return Asked(
        cancel,
        spec.get("suspend") is True,
        truncate(by, 253),
        min(times, default=None),
        decisions,
        spec.get("priority"),
        *_afresh(spec),
    )


def _afresh(spec: Mapping[str, Any]) -> tuple[bool, frozenset[str]]:
    """Whether all steps are to run that a cache could leave out, and which of them are in any case."""
    rerun = spec.get("rerun")
    mode, steps = (rerun.get("mode"), rerun.get("steps")) if isinstance(rerun, dict) else (None, None)
    named = frozenset(map(str, steps)) if isinstance(steps, list) else frozenset()
    return spec.get("cache") == "Refresh" or mode == RerunMode.ALL, named


def _decisions(given: Any) -> dict[str, Decided]:
    """What was said to each approval; what has a shape of another release is passed over."""
    try:
        read = [StepDecision.model_validate(one) for one in given]
    except (TypeError, ValueError):
        return {}
    return {one.step: Decided(one.decision, one.comment or "", one.by or "", tuple(one.groups or ())) for one in read}


@dataclass(frozen=True, slots=True)
class Gather:
    """Which pods of an Indexed Job that has ended are to be read.

    Attributes:
        job: its name.
        outputs: whether those of all items that succeeded are, for their outputs.
        failed: positions of failed items of which the last one is, for why.
    """

    job: str
    outputs: bool
    failed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A step that has succeeded in another run.

    Attributes:
        run: that run's name.
        row: where the step stands there.
    """

    run: str
    row: Row


@dataclass(frozen=True, slots=True)
class View:
    """What was observed of a run's Jobs and pods.

    Attributes:
        jobs: the run's own Jobs, by name.
        pods: the pods of each Job, by the Job's uid.
        proven: names of the Jobs that were read live, with their pods, in this turn.
        refused: why the API server would not take a Job, by name, in this turn.
        explained: what events say of why a Job has no pod, or its step does not begin, by the Job's name, in this turn;
            empty where nothing.
        armed: the run's secrets, or why they are not at hand; None where nobody has asked for them.
        room: how many Jobs may be created in this turn; None where nothing bounds them.
        objects: what was read, in this turn, of objects that steps wait for.
        runs: the runs that this one made, by name.
        above: the pipelines of the runs that made this one, the nearest first.
        gathered: what was asked for of the pods of Indexed Jobs that have ended, by the Job's name and the position of
            the item, in this turn.
        results: what steps handed in, by the ConfigMap's name, in this turn; None where there is none.
        recalled: by the key of a cache, the last step that has succeeded with it, in this turn; None where there is
            none.
    """

    jobs: Mapping[str, Object] = field(default_factory=dict)
    pods: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()
    refused: Mapping[str, Refusal] = field(default_factory=dict)
    explained: Mapping[str, str] = field(default_factory=dict)
    armed: Armed | Hindrance | None = None
    room: int | None = None
    objects: Mapping[ObjectRef, Seen] = field(default_factory=dict)
    runs: Mapping[str, Object] = field(default_factory=dict)
    above: tuple[str, ...] = ()
    gathered: Mapping[str, Mapping[int, Object]] = field(default_factory=dict)
    results: Mapping[str, str | None] = field(default_factory=dict)
    recalled: Mapping[str, Earlier | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    Attributes:
        rows: where every step stands once the rest of the plan is done.
        create: Jobs to create.
        claim: the workspace's claim, to create before them.
        delete: names of Jobs that must not go on: their attempts were given up.
        stop: names of Jobs whose pods are to end, and are waited for.
        kill: whether the pods of the former get no time to end.
        hold: names of Jobs in whose pods no step begins that has not.
        prove: names of Jobs to read live, with their pods, before planning again; nothing else is done before.
        explain: names of Jobs of which events are to be read before planning again: why they have no pod, or why a step
            of theirs, whose name is given, does not begin in it.
        look: objects to read, as the run, before planning again; nothing else is done before.
        gather: pods to read before planning again.
        fetch: names of ConfigMaps with results to read before planning again.
        recall: keys of caches to look up before planning again.
        items: ConfigMaps with the items of Jobs, to create before them.
        arm: whether the run's secrets are to be got before planning again; nothing else is done before.
        verdict: how the run ended, or None.
        wake_at: when to look again if nothing happens, in seconds since the epoch, or None.
        short: whether steps that are due wait for room.
        rests: whether nothing goes on before a person has said something: secrets are let go.
        start: runs of other pipelines to create.
        steer: what to change of such runs, by name, as merge patches.
        make: objects of other kinds to make as the run's own account.
        remove: such objects to delete, if they are the run's.
        outputs: what a run that has succeeded tells; None where its pipeline declares nothing, or it has not.
    """

    rows: tuple[Row, ...]
    create: tuple[dict[str, Any], ...] = ()
    claim: dict[str, Any] | None = None
    delete: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    kill: bool = False
    hold: tuple[str, ...] = ()
    prove: tuple[str, ...] = ()
    explain: Mapping[str, str | None] = field(default_factory=dict)
    look: tuple[ObjectRef, ...] = ()
    gather: tuple[Gather, ...] = ()
    fetch: tuple[str, ...] = ()
    recall: tuple[str, ...] = ()
    items: tuple[dict[str, Any], ...] = ()
    arm: bool = False
    verdict: Phase | None = None
    wake_at: float | None = None
    short: bool = False
    rests: bool = False
    start: tuple[dict[str, Any], ...] = ()
    steer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    make: tuple[dict[str, Any], ...] = ()
    remove: tuple[ObjectRef, ...] = ()
    outputs: Mapping[str, Any] | None = None

    @property
    def looks(self) -> bool:
        """Whether something is to be looked at more closely before anything else is done."""
        return bool(self.prove or self.explain or self.look or self.gather or self.fetch or self.recall)
