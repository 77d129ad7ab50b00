"""Of the model of a cluster: the runs of other pipelines and the objects that a run's steps make."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tests.builders import RUN_UID

from dataops_operator.core.names import ATTEMPT_LABEL, STEP_LABEL
from dataops_operator.core.objects import ObjectRef, Seen
from dataops_operator.core.plan import Plan
from dataops_operator.core.times import to_rfc3339

if TYPE_CHECKING:
    from tests.unit.core.cluster import Cluster

Object = dict[str, Any]
COMPONENT = "app.kubernetes.io/component"


class Nested:
    """What is true of them, and of the runs what the operator's cache shows."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.runs: dict[str, Object] = {}
        self.cached: dict[str, Object] = {}
        self.objects: dict[str, Object] = {}
        self.steps: dict[str, str] = {}
        """Whose attempt each of them is."""

    # The operator.

    def look(self, about: ObjectRef) -> Seen:
        """Read one live."""
        held = (self.runs if about.own else self.objects).get(about.name)
        if about.own:
            self.sync(about.name)
        return Seen(copy.deepcopy(held))

    def create(self, made: Plan) -> None:
        """Create what a plan asks for; what is there is adopted."""
        for body in made.start:
            self._take(self.runs, body, body["metadata"]["labels"][STEP_LABEL], made)
            assert self.cluster.attempts[self.steps[body["metadata"]["name"]], None] == int(
                body["metadata"]["labels"][ATTEMPT_LABEL]
            )
            self.sync(body["metadata"]["name"])
        for body in made.make:
            self._take(self.objects, body, body["metadata"]["labels"][COMPONENT], made)

    def _take(self, there: dict[str, Object], body: Object, step: str, made: Plan) -> None:
        cluster, name = self.cluster, body["metadata"]["name"]
        cluster.spend()
        if name in there:
            cluster.adopted = True
            return
        cluster.created[name] += 1
        assert cluster.created[name] == 1, f"I1: {name} was created before"
        cluster.attempts[step, None] += 1
        cluster.check_begin(step, made)
        meta = {**body["metadata"], "creationTimestamp": to_rfc3339(cluster.now)}
        there[name] = {**copy.deepcopy(body), "metadata": meta, "status": {"phase": "Running"}}
        self.steps[name] = step

    def steer(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Pass on what is asked of the run."""
        for name, change in changes.items():
            self.cluster.spend()
            if name in self.runs:
                self.runs[name]["spec"].update(change["spec"])
                notes = self.runs[name]["metadata"].setdefault("annotations", {})
                for key, value in change.get("metadata", {}).get("annotations", {}).items():
                    notes.pop(key, None) if value is None else notes.update({key: value})
            self.sync(name)

    def end_runs(self) -> None:
        """End those that an ended run left."""
        self.steer({name: {"spec": {"cancel": "Immediate"}} for name, one in self.runs.items() if not ended(one)})

    def remove(self, abouts: Collection[ObjectRef]) -> None:
        """Delete objects."""
        for about in abouts:
            self.cluster.spend()
            self.objects.pop(about.name, None)

    def sync(self, name: str) -> None:
        """The cache learns the truth about one run."""
        if name in self.runs:
            self.cached[name] = copy.deepcopy(self.runs[name])
        else:
            self.cached.pop(name, None)

    # The world.

    def move_run(self, name: str, how: str) -> None:
        """Another run ends, or goes; or the cache hears of it."""
        if how == "gone":
            # One that the status does not name yet would be made again, for nobody can know of it.
            if any(row.run == name for row in self.cluster.rows):
                del self.runs[name]
        elif how == "heard of":
            self.sync(name)
        elif not ended(self.runs[name]):
            good, step = how == "Succeeded", self.steps[name]
            condition = {"type": "Succeeded", "status": str(good), "reason": how, "message": "m"}
            outputs = {one.name: f"{name}/{one.name}" for one in self.cluster.inputs.revision.steps[step].outputs or ()}
            self.runs[name]["status"] = {"phase": how, "conditions": [condition], "outputs": outputs}
            if good:
                self.cluster.done[step, None] = outputs

    def move_object(self, name: str, how: str) -> None:
        """An object comes to a state, or goes."""
        if how == "gone":
            if any((row.object or "").endswith(f"/{name}") for row in self.cluster.rows):
                del self.objects[name]
        elif "state" not in self.objects[name]:
            assert self.objects[name]["metadata"]["ownerReferences"][0]["uid"] == RUN_UID
            self.objects[name] |= {"state": how, "n": f"{name}/n"}
            if how == "done":
                self.cluster.done[self.steps[name], None] = {"n": f"{name}/n"}

    def settle(self) -> None:
        """Everything comes to its end, and is heard of."""
        for name, one in self.runs.items():
            cancelled = "cancel" in one["spec"]
            if cancelled or self.cluster.asked.cancel is None:  # else it goes on until that was passed on
                self.move_run(name, "Cancelled" if cancelled else "Succeeded")
        for name in list(self.objects):
            self.move_object(name, "done")
        for name in {*self.runs, *self.cached}:
            self.sync(name)

    def unwanted(self) -> list[str]:
        """What goes on for nobody once the run has ended."""
        return [
            *(name for name, one in self.runs.items() if not ended(one) and not one["spec"].get("cancel")),
            *self.objects,
        ]


def ended(run: Object) -> bool:
    """Whether a run has ended."""
    return bool(run["status"].get("conditions"))
