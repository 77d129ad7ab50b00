"""Files of our kinds held against every rule that can be held offline, with line and column.

The rules are the API server's schema and the reconciler's own code. What stands together is held together: a run in
the same files as its Pipeline and its Environment is checked as if it began there.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from ..api.base import API_VERSION, GROUP
from ..api.conditions import Reason
from ..api.crd import KINDS
from ..api.pipeline import PipelineSpec
from ..api.run import PipelineRunSpec
from ..core.accept import Refused, inputs, logical_date, pin
from ..core.callrules import call_problems, circle
from ..core.environment import Effective, effective, execution_namespace
from ..core.environment_rules import Fault
from ..core.fit import unfit
from ..core.graph import placed
from ..core.inputs import Identity
from ..core.parameters import Offer, RunContext, resolve
from ..core.problems import Problem, nearest
from ..core.revision import Revision, make_revision
from ..core.steptemplates import Library, alone, compile_pipeline, own_path, parse_pipeline, parse_template
from ..core.validate import shape_problems
from . import documents, schema
from .documents import Document, Position
from .shelltext import warnings_of

Object = dict[str, Any]

DEFAULT: Final = "default"
"""Namespace of an object that names none: kubectl's, or the one that a kustomization gives to all of them alike."""
NOW: Final = "2013-02-09T00:00:00Z"
"""Stands for the creation of a run that has none yet."""
_ALONE: Final = re.compile(
    r"(?P<part>spec\.(?:(?:steps|finally)\[\d+\]|defaults))\."
    r"(?P<field>description|image|command|args|script|env|retry|timeout|startTimeout|resources|podTemplate|workspace)\b.*"
)
"""Fields of a step on which no rule for another one depends."""
_STANDS_FOR: Final[Mapping[str, Any]] = {"image": "image", "command": ["x"], "args": ["x"], "script": "x"}
"""In place of those without which a step would have nothing to run."""
_OF_PIPELINE: Final = re.compile(r"pipeline ([^:]+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something to mend, and where it stands."""

    file: str
    line: int
    column: int
    severity: str
    """`error` or `warning`."""
    path: str
    message: str
    kind: str = ""
    name: str = ""


@dataclass
class Item:
    """One object in a file."""

    file: str
    document: Document
    value: Object
    prefix: str = ""

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.value.get("kind") or "")

    @cached_property
    def meta(self) -> Object:
        """Its metadata; empty where they have not even the shape."""
        found = self.value.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.meta.get("name") or self.meta.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.meta.get("namespace") or DEFAULT)

    @property
    def spec(self) -> Object:
        """Its spec; empty where it has not even the shape."""
        found = self.value.get("spec")
        return found if isinstance(found, dict) else {}

    @property
    def object(self) -> Object:
        """As the API server would have it, as far as core asks for that."""
        return {
            **self.value,
            "metadata": {**self.meta, "name": self.name, "namespace": self.namespace},
            "spec": self.spec,
        }


@dataclass
class Lint:
    """What was looked at, and what was found.

    Attributes:
        findings: what to mend.
        objects: how many objects of ours there were.
        others: how many of other groups.
    """

    findings: set[Finding] = field(default_factory=set)
    objects: int = 0
    others: int = 0
    _items: list[Item] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many of the findings are errors."""
        return sum(one.severity == "error" for one in self.findings)

    def read(self, file: str, text: str) -> None:
        """Take in a file."""
        for document in documents.read(text):
            for mistake in document.mistakes:
                at = mistake.position
                self.findings.add(Finding(file, at.line, at.column, "error", mistake.path, mistake.message))
            if isinstance(document.value, dict):
                self._take(Item(file, document, document.value))
            elif document.value is not None:
                at, text = document.start, "not an object, which has apiVersion, kind, metadata and spec"
                self.findings.add(Finding(file, at.line, at.column, "error", "", text))

    def unreadable(self, file: str) -> None:
        """Take in a file that is no text."""
        self.findings.add(Finding(file, 1, 1, "error", "", "cannot be read as UTF-8 text; save it as that"))

    def _take(self, item: Item) -> None:
        version = str(item.value.get("apiVersion") or "")
        if item.kind == "List" and isinstance(item.value.get("items"), list):
            for index, inner in enumerate(item.value["items"]):
                if isinstance(inner, dict):
                    self._take(Item(item.file, item.document, inner, f"items[{index}]."))
        elif version.partition("/")[0] != GROUP:
            self.others += 1
        else:
            self.objects += 1
            self._items.append(item)

    def check(self) -> None:
        """Hold all that was taken in against the rules."""
        known, there = [kind["kind"] for kind in KINDS], dict[tuple[str, ...], Item]()
        for item in self._items:
            before = there.setdefault((item.file, item.kind, item.namespace, item.name), item)
            if before is not item and item.meta.get("name"):
                line = before.document.start.line
                text = f"{item.kind} {item.name!r} is in this file already, at line {line}, which this one replaces"
                self._add(item, Problem("metadata.name", f"{text} when it is applied"), "warning")
            if item.kind not in known:
                self._error(item, Problem("kind", f"no kind {item.kind!r} in {GROUP}{nearest(item.kind, known)}"))
            elif item.value["apiVersion"] != API_VERSION:
                text = f"{item.value['apiVersion']} is not served; write {API_VERSION}"
                self._error(item, Problem("apiVersion", text))
            else:
                self._object(item)

    def _object(self, item: Item) -> None:
        shape = schema.problems_of(item.kind, item.value)
        for problem in shape:
            self._error(item, _as_written(item, problem))
        if not item.name:
            self._error(item, Problem("metadata.name", "no name; give one"))
        elif (whole := _readable(item, shape)) is not None:  # else its model would say the same again in other words
            self._rules(whole, {problem.path for problem in shape})

    def _rules(self, item: Item, told: set[str]) -> None:
        """What goes beyond the shape: the rules of the kind, then those of the schema that say anything else."""
        known = [problem for problem in CHECKS.get(item.kind, _nothing)(self, item) if problem.path not in told]
        told = told | {problem.path for problem in known}
        for problem in schema.rule_problems(item.kind, {**item.value, "metadata": {**item.meta, "name": item.name}}):
            if problem.path not in told and problem.path.rpartition(".")[0] not in told:
                known.append(problem)
        for problem in known:
            self._error(item, problem)

    # The kinds.

    def pipeline(self, item: Item) -> Iterator[Problem]:
        """What is wrong with a Pipeline."""
        spec, problems = parse_pipeline(item.spec, self._library(item.namespace), item.name)
        yield from problems
        if spec is not None and any(step.pipeline is not None for _, step in placed(spec)):
            yield from self._calls(item, spec)
        # Of the steps as they are written: what a template says is said there.
        for warning in warnings_of(PipelineSpec.model_validate(item.spec)) if spec is not None else ():
            self._add(item, warning, "warning")

    def _calls(self, item: Item, spec: PipelineSpec) -> Iterator[Problem]:
        """What is wrong with its runs of other pipelines, as far as those are at hand."""
        beside: dict[str, PipelineSpec] = {item.name: spec}
        for other in self._items:
            if (other.kind, other.namespace) == ("Pipeline", item.namespace) and other.name not in beside:
                read, _ = parse_pipeline(other.spec, self._library(other.namespace))
                beside |= {other.name: read} if read is not None else {}
        for path, step in placed(spec):
            if step.pipeline is not None and step.pipeline.revision is None and step.pipeline.name in beside:
                yield from call_problems(path, step, beside[step.pipeline.name])
        if (found := circle(item.name, beside)) is not None:
            self._add(item, found.problem, "error" if found.certain else "warning")

    def step_template(self, item: Item) -> Iterator[Problem]:
        """What is wrong with a StepTemplate."""
        spec, problems = parse_template(item.spec)
        yield from problems
        for warning in warnings_of(alone(spec)) if spec is not None else ():
            self._add(item, Problem(own_path(warning.path), warning.message), "warning")

    def environment(self, item: Item) -> Iterator[Problem]:
        """What is wrong with an Environment; its parent is held against it where it is at hand."""
        parent = self._find("Environment", item.namespace, str(item.spec.get("from") or ""))
        for problem in effective(item.object, parent.object if parent else None)[1]:
            absent = isinstance(problem, Fault) and problem.reason is Reason.PARENT_NOT_FOUND
            if not absent:  # it may well be in the cluster
                yield problem

    def run(self, item: Item) -> Iterator[Problem]:
        """What is wrong with a run, alone and against what stands with it."""
        try:
            spec = PipelineRunSpec.model_validate(item.spec)
        except ValidationError as error:
            yield from shape_problems(error)
            return
        try:
            logical_date(spec, NOW)
        except ValueError as error:
            yield Problem("spec.logicalDate", f"{spec.logical_date} is no time: {error}")
            return
        if spec.approvals and "uid" not in item.meta:  # one that was read from a cluster has those that it was given
            yield Problem("spec.approvals", "a decision is given while its step asks, and refused before; remove it")
        environment = self._environment_of(item.namespace)
        project = environment.project if environment is not None else item.namespace
        pipeline = self._find("Pipeline", project, spec.pipeline)
        revision = self._revision(pipeline) if pipeline is not None else None
        if revision is not None and spec.revision in (None, revision.name):
            yield from self._begin(item, spec, pipeline, revision, environment)

    def _begin(
        self,
        item: Item,
        spec: PipelineRunSpec,
        pipeline: Item | None,
        revision: Revision,
        environment: Effective | None,
    ) -> Iterator[Problem]:
        """A run as if it began now, with this revision, in this environment."""
        offer = None if environment is None else Offer(environment.key, environment.parameters)
        given = {one.name: one.value for one in spec.parameters or ()}
        context = RunContext(item.name, "0", logical_date(spec, NOW))
        _, problems = resolve(tuple(revision.spec.parameters or ()), given, context, offer)
        for problem in problems:
            if problem.path.startswith("spec.parameters[") or environment is not None:
                yield problem  # which values an environment gives that is not at hand nobody knows
        if environment is None or problems:
            return
        identity = Identity(item.namespace, item.name, "0", spec.pipeline)
        fixed = pin(identity, spec, NOW, revision, environment)
        if isinstance(fixed, Refused):
            yield Problem("spec", fixed.message)
            return
        for _, problem in unfit(inputs(identity, revision, fixed, "dataops-runner", environment)):
            match = _OF_PIPELINE.fullmatch(problem.path)
            where = pipeline if match is not None and pipeline is not None else item
            path = match[2] if match is not None else problem.path
            self._error(where, Problem(path, problem.message))

    # What stands together.

    def _library(self, namespace: str) -> Library:
        """The step templates of a namespace that are at hand; others may well be in the cluster."""
        return {
            item.name: item.spec for item in self._items if (item.kind, item.namespace) == ("StepTemplate", namespace)
        }

    def _find(self, kind: str, namespace: str, name: str) -> Item | None:
        for item in self._items:
            if (item.kind, item.namespace, item.name) == (kind, namespace, name):
                return item
        return None

    def _revision(self, pipeline: Item) -> Revision | None:
        """What a valid pipeline runs, where all of its templates are at hand."""
        made = compile_pipeline(pipeline.spec, self._library(pipeline.namespace), pipeline.name)
        return None if made.spec is None or made.problems else make_revision(pipeline.name, made.spec, made.templates)

    def _environment_of(self, namespace: str) -> Effective | None:
        """The environment whose runs live in a namespace, where it is at hand and valid."""
        for item in self._items:
            if item.kind == "Environment" and execution_namespace(item.object) == namespace:
                parent = self._find("Environment", item.namespace, str(item.spec.get("from") or ""))
                return effective(item.object, parent.object if parent else None)[0]
        return None

    def _error(self, item: Item, problem: Problem) -> None:
        self._add(item, problem, "error")

    def _add(self, item: Item, problem: Problem, severity: str) -> None:
        at: Position = item.document.position(item.prefix + problem.path)
        found = Finding(item.file, at.line, at.column, severity, problem.path, problem.message, item.kind, item.name)
        self.findings.add(found)


Check = Callable[[Lint, Item], Iterable[Problem]]

CHECKS: Final[Mapping[str, Check]] = {
    "StepTemplate": Lint.step_template,
    "Pipeline": Lint.pipeline,
    "PipelineRun": Lint.run,
    "Environment": Lint.environment,
}
"""What is asked of each kind beyond its schema."""


def _nothing(_lint: Lint, _item: Item) -> Iterable[Problem]:
    return ()


def _as_written(item: Item, problem: Problem) -> Problem:
    """A problem of the schema in the words of the file, where YAML 1.1 reads a bare word as true or false."""
    word = item.document.word(item.prefix + problem.path)
    value = documents.plain_value(word) if word is not None else None
    if not isinstance(value, bool) or str(word).lower() in ("true", "false"):
        return problem
    return Problem(problem.path, documents.bare(str(word), value))


def _readable(item: Item, shape: Iterable[Problem]) -> Item | None:
    """An object as the operator could read it; None where it is not what it says it is.

    What is wrong with a field on which no other rule depends keeps nobody from being told of the rest: it is left out.
    """
    model = next(kind["model"] for kind in KINDS if kind["kind"] == item.kind)
    value = copy.deepcopy(item.value)
    for problem in shape:
        if (found := _ALONE.fullmatch(problem.path)) is not None:
            part: Any = value
            for key in re.findall(r"\w+", found["part"]):
                part = part[int(key) if key.isdigit() else key]
            if found["field"] in _STANDS_FOR:
                part[found["field"]] = _STANDS_FOR[found["field"]]
            else:
                part.pop(found["field"], None)
    try:
        model.model_validate(value)
    except ValidationError:
        return None
    return replace(item, value=value)
