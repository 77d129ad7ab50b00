"""Step templates: held against the rules, and filled into the pipelines that use them.

A template is held against the same rules as a pipeline of that one step. Where a pipeline uses it, the step gets the
template's fields, in which `$(params.x)` has become `$(with.x)`: so both scopes stand in one text and are never
mistaken for each other, and nothing is filled in before a Job is made. The reconciler and the offline lint call this
same code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from ..api.parameter import Parameter
from ..api.pipeline import PipelineSpec
from ..api.secret import Secret, StepSecret
from ..api.step import Output, Step
from ..api.template import StepTemplateSpec
from ..api.templateref import TemplateReference
from .callrules import self_problems
from .graph import placed, step_references, templated_fields
from .parameters import check
from .podtemplate import merged
from .podtemplate import problems_of as pod_problems
from .problems import Problem, nearest
from .revision import Templates, size
from .scopes import ROOT
from .templating import Reference, fill_deep, references, reroot, strings
from .validate import problems_of, shape_problems

Library = Mapping[str, Mapping[str, Any]]
"""The specs of the StepTemplates of one namespace, as written, by their metadata.name."""

REVISION_LIMIT: Final = 1024 * 1024
"""Bytes of a revision: etcd takes 1.5 MiB a request, and a pipeline's own spec fits that before it is filled in."""

OVERRIDABLE: Final = ("retry", "timeout", "start_timeout", "resources")
"""What a step may say otherwise than its template."""
_OWN: Final = ("image", "command", "args", "script", "outputs", "workspace")
"""What a template alone says."""
_FOREIGN: Final = {
    "steps": "a template knows no steps; take the value as a parameter, and give it in the pipeline's with",
    "item": "a template knows no fan-out; take the value as a parameter, and give it in the pipeline's with",
}


@dataclass(frozen=True, slots=True)
class Missing(Problem):
    """A template that is not there, yet: tools apply in any order, and it clears by itself.

    Attributes:
        template: the metadata.name that is looked for.
    """

    template: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pipeline with its templates filled in.

    Attributes:
        spec: what is run; None where the pipeline has not even the shape of one.
        templates: the parameters of the templates that were filled in.
        problems: all that is wrong; with any, the spec is not to be run.
    """

    spec: PipelineSpec | None
    templates: Templates
    problems: list[Problem]


def missing(problems: Sequence[Problem]) -> tuple[str, ...]:
    """The templates that a pipeline waits for; none where something else is wrong with it as well."""
    found = dict.fromkeys(one.template for one in problems if isinstance(one, Missing))
    return tuple(found) if all(isinstance(one, Missing) for one in problems) else ()


def used(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The metadata.names of the templates that a Pipeline's spec uses, whatever shape the rest of it has."""
    found: dict[str, None] = {}
    lists = [raw.get(key) for key in ("steps", "finally")] if isinstance(raw, Mapping) else []
    for step in (one for steps in lists if isinstance(steps, list) for one in steps):
        try:
            found[TemplateReference.model_validate(step["template"]).object_name] = None
        except (TypeError, KeyError, ValidationError):
            continue  # no template, or nothing that could be one
    return tuple(found)


def parse_template(raw: Mapping[str, Any]) -> tuple[StepTemplateSpec | None, list[Problem]]:
    """A StepTemplate's spec as a model, and all that is wrong with it; None where it has not even the shape."""
    try:
        spec = StepTemplateSpec.model_validate(raw)
    except ValidationError as error:
        return None, shape_problems(error)
    return spec, list(_template_problems(spec))


def compile_pipeline(raw: Mapping[str, Any], library: Library, name: str = "") -> Compiled:
    """A Pipeline's spec with its templates filled in, and all that is wrong with it.

    Args:
        raw: the Pipeline's spec.
        library: the templates that there are; more than it uses do no harm.
        name: of the Pipeline, which none of its steps may run; empty where it is not known.
    """
    try:
        written = PipelineSpec.model_validate(raw)
    except ValidationError as error:
        return Compiled(None, {}, shape_problems(error))
    filling = _Filling(written, library)
    filled: dict[str, list[Step]] = {"steps": [], "finally_": []}
    for path, step in placed(written):
        filled["steps" if path.startswith("spec.steps") else "finally_"].append(filling.step(path, step))
    spec = written.model_copy(update=filled if written.finally_ is not None else {"steps": filled["steps"]})
    found = (*problems_of(spec), *pod_problems(spec), *self_problems(name, spec))
    problems = [*filling.problems, *(one for one in found if not filling.told(one))]
    if filling.templates and not problems and (needed := size(spec, filling.templates)) > REVISION_LIMIT:
        text = f"with its templates filled in it has {needed // 1024} KiB, more than {REVISION_LIMIT // 1024}"
        problems.append(Problem("spec.steps", f"{text}; make scripts smaller, or split the pipeline"))
    return Compiled(spec, filling.templates, problems)


def parse_pipeline(
    raw: Mapping[str, Any], library: Library | None = None, name: str = ""
) -> tuple[PipelineSpec | None, list[Problem]]:
    """A Pipeline's spec, and what is wrong with it as far as that can be told by those templates that are at hand.

    For tools that do not see the whole namespace: a template that is not at hand is no problem, and a step of it has
    what its pipeline says of it.

    Args:
        raw: the Pipeline's spec.
        library: the templates that are at hand.
        name: of the Pipeline; empty where it is not known.
    """
    made = compile_pipeline(raw, library or {}, name)
    return made.spec, [one for one in made.problems if not isinstance(one, Missing)]


# A template by itself.


def alone(spec: StepTemplateSpec) -> PipelineSpec:
    """A template as a pipeline of that one step, for whatever is asked of pipelines."""
    # What a secret is, its pipeline says.
    source = {"path": "of/the/pipeline"}
    secrets = {one.name: Secret.model_validate({"name": one.name, "vault": source}) for one in spec.secrets or ()}
    step = _body(spec, Step(name="step", image=spec.image or "of-the-pipeline"))
    return PipelineSpec(parameters=spec.parameters, steps=[step], secrets=list(secrets.values()))


def own_path(path: str) -> str:
    """A path in such a pipeline as it is in the template."""
    return path.replace("spec.steps[0].", "spec.", 1).replace("spec.steps[0]", "spec", 1)


def _template_problems(spec: StepTemplateSpec) -> Iterator[Problem]:
    """What is wrong with a template: what would be with a pipeline of this one step, and what only a pipeline knows."""
    single = alone(spec)
    foreign = []
    for field, reference in step_references(single.steps[0]):
        if (cure := _FOREIGN.get(reference.path[0])) is not None:
            foreign.append(f"spec.{field}")
            yield Problem(f"spec.{field}", f"{reference.text}: {cure}")
    if spec.script is None and spec.command is None and spec.args is None and spec.image is None:
        yield Problem("spec", "nothing to run; give command, args, script, or an image whose own entrypoint is run")
    for number, one in enumerate(spec.secrets or ()):
        if one.as_ is not None:
            yield Problem(f"spec.secrets[{number}].as", "a template has one name for a secret; remove as, change name")
    for problem in (*problems_of(single), *pod_problems(single)):
        path = own_path(problem.path)
        if path not in foreign and path != "spec.needs":
            yield Problem(path, problem.message)


def _body(template: StepTemplateSpec, step: Step) -> Step:
    """A step with what its template says; nothing is moved between scopes."""
    said = {
        name: value
        for name in (*_OWN, *OVERRIDABLE, "env", "secrets", "pod_template")
        if (value := getattr(template, name)) is not None and (name in _OWN or getattr(step, name) is None)
    }
    return step.model_copy(update=said)


# A template in a pipeline.


class _Filling:
    """The templates of one pipeline on their way into its steps."""

    def __init__(self, spec: PipelineSpec, library: Library) -> None:
        self._spec = spec
        self._library = library
        self._parsed: dict[str, tuple[StepTemplateSpec | None, list[Problem]]] = {}
        self._covered: list[str] = []
        self.templates: dict[str, tuple[Parameter, ...]] = {}
        self.problems: list[Problem] = []

    def told(self, problem: Problem) -> bool:
        """Whether a problem of the filled-in spec has been told in other words."""
        return problem.path in self._covered

    def step(self, path: str, step: Step) -> Step:
        """A step, filled in where it uses a template."""
        if step.template is None:
            if step.with_ is not None:
                text = "gives values to a template's parameters; name the template, or remove it"
                self.problems.append(Problem(f"{path}.with", text))
            return step
        name = step.template.object_name
        template = self._find(path, step.template)
        if template is None:
            return self._stand_in(path, step)
        self.templates[name] = tuple(template.parameters or ())
        self.problems += _overrides(path, step, template, name)
        self.problems += _values(path, step, template, name)
        secrets, wrong = _secrets(path, step, template, name, {one.name for one in self._spec.secrets or ()})
        self.problems += wrong
        if template.image is None and (self._spec.defaults is None or self._spec.defaults.image is None):
            self._covered.append(f"{path}.image")
            text = f"step template {name!r} leaves the image to the pipeline; give one in spec.defaults.image"
            self.problems.append(Problem(f"{path}.template", text))
        return _filled(step, template, secrets)

    def _find(self, path: str, reference: TemplateReference) -> StepTemplateSpec | None:
        name = reference.object_name
        if name not in self._library:
            text = f"no step template {name!r} in the pipeline's namespace{_alike(name, self._library)}; apply it"
            self.problems.append(Missing(f"{path}.template", text, template=name))
            return None
        if name not in self._parsed:
            self._parsed[name] = parse_template(self._library[name])
        template, problems = self._parsed[name]
        if template is None or problems:
            first = problems[0] if problems else "it has no spec"
            self.problems.append(Problem(f"{path}.template", f"step template {name!r} is not valid: {first}"))
            return None
        if reference.version is not None and template.version != reference.version:
            text = f"step template {name!r} is {_version(template)}, not version {reference.version!r}"
            self.problems.append(Problem(f"{path}.template.version", f"{text}; have its spec.version mended"))
            return None
        return template

    def _stand_in(self, path: str, step: Step) -> Step:
        """A step of an unknown template, which has whatever others want of it: what else is wrong can still be told."""
        self._covered.append(f"{path}.image")
        wanted = {
            reference.path[3]
            for _, one in placed(self._spec)
            for _, reference in step_references(one)
            if reference.path[0] == "steps" and reference.path[1] == step.name and len(reference.path) > 3
        }
        return step.model_copy(update={"outputs": [Output(name=name) for name in sorted(wanted)], "secrets": None})


def _version(template: StepTemplateSpec) -> str:
    return "of no version" if template.version is None else f"version {template.version!r}"


def _alike(name: str, library: Library) -> str:
    close = nearest(name, library)
    return close if close.startswith("; did you mean") else ""


def _overrides(path: str, step: Step, template: StepTemplateSpec, name: str) -> Iterator[Problem]:
    """What a step says that is the template's alone, and what it writes in the template's own names."""
    for field in _OWN:
        if getattr(step, field) is not None:
            yield Problem(f"{path}.{field}", f"{field} is said by step template {name!r} alone; remove it")
    taken = {one.name for one in template.env or ()}
    taken |= {one.name for secret in template.secrets or () for one in secret.env or ()}
    for number, variable in enumerate(step.env or ()):
        if variable.name in taken:
            text = f"step template {name!r} sets {variable.name!r} itself; take another name, or a parameter of it"
            yield Problem(f"{path}.env[{number}].name", text)
    for field, text in templated_fields(step):
        for reference in references(text):
            if reference.path[0] == ROOT:
                text = f"{reference.text}: here are the pipeline's own names; write $(params.<name>)"
                yield Problem(f"{path}.{field}", text)


def _values(path: str, step: Step, template: StepTemplateSpec, name: str) -> Iterator[Problem]:
    """What is wrong with the values that a step gives to its template's parameters."""
    declared = {one.name: one for one in template.parameters or ()}
    given: set[str] = set()
    for number, one in enumerate(step.with_ or ()):
        where, parameter = f"{path}.with[{number}]", declared.get(one.name)
        if one.name in given:
            yield Problem(f"{where}.name", f"the name {one.name!r} is there already; names are unique")
        elif parameter is None:
            text = f"step template {name!r} has no parameter {one.name!r}{nearest(one.name, declared)}"
            yield Problem(f"{where}.name", text)
        elif one.value is not None and not any(any(references(text)) for text in strings(one.value)):
            try:
                check(parameter, fill_deep(one.value, _nothing), parameter.masked)
            except ValueError as error:
                yield Problem(f"{where}.value", f"{one.name}: {error}")
        if one.value is not None:
            given.add(one.name)
    for parameter in declared.values():
        if parameter.name not in given and parameter.default is None:
            text = (
                f"step template {name!r} needs a value for {parameter.name!r}; add {{name: {parameter.name}, value: …}}"
            )
            yield Problem(f"{path}.with", text)


def _nothing(reference: Reference) -> Any:
    """What is asked for where nothing is: a value without templates has only escaped ones, which stay."""
    raise LookupError(reference.text)


def _secrets(
    path: str, step: Step, template: StepTemplateSpec, name: str, known: Collection[str]
) -> tuple[list[StepSecret], list[Problem]]:
    """The secrets that a step gets: of the pipeline's, those that the template asks for.

    Args:
        path: of the step.
        step: as the pipeline has it; its own secrets say which of the pipeline's stands for which of the template's.
        template: what asks.
        name: of its object.
        known: names of the pipeline's secrets.
    """
    problems: list[Problem] = []
    mapped = {one.as_ or one.name: one for one in step.secrets or ()}
    asked = {one.name for one in template.secrets or ()}
    for number, one in enumerate(step.secrets or ()):
        where, meant = f"{path}.secrets[{number}]", one.as_ or one.name
        if meant not in asked:
            text = f"step template {name!r} asks for no secret {meant!r}{nearest(meant, asked)}"
            problems.append(Problem(where, text))
        if one.env is not None:
            problems.append(Problem(f"{where}.env", f"step template {name!r} says how it takes secrets; remove env"))
        if one.name not in known:
            text = f"no secret {one.name!r} in spec.secrets{nearest(one.name, known)}"
            problems.append(Problem(f"{where}.name", text))
    found: list[StepSecret] = []
    for wanted in template.secrets or ():
        given = mapped.get(wanted.name)
        if given is None and wanted.name not in known:
            text = (
                f"step template {name!r} needs a secret {wanted.name!r}; add one of that name to spec.secrets, or say "
            )
            problems.append(Problem(f"{path}.secrets", f"{text}which it is: {{name: …, as: {wanted.name}}}"))
        elif given is None or given.name in known:
            source = wanted.name if given is None else given.name
            other = wanted.name if source != wanted.name else None
            found.append(StepSecret(name=source, as_=other, env=wanted.env))
    return found, problems


def _filled(step: Step, template: StepTemplateSpec, secrets: list[StepSecret]) -> Step:
    """A step with its template's fields, those of both scopes side by side: `with` and `params`."""

    def inside(text: str) -> str:
        return reroot(text, "params", ROOT)

    taken = {one.name for one in template.env or ()}
    # The pipeline's own first, so that paths of problems count as they are written.
    env = [one for one in step.env or () if one.name not in taken]
    env += [one.model_copy(update={"value": inside(one.value)}) for one in template.env or ()]
    return step.model_copy(
        update={
            "image": inside(template.image) if template.image is not None else None,
            "command": [inside(one) for one in template.command] if template.command is not None else None,
            "args": [inside(one) for one in template.args] if template.args is not None else None,
            "script": template.script,
            "outputs": template.outputs,
            "workspace": template.workspace,
            "env": env or None,
            "secrets": secrets or None,
            "pod_template": merged(step.pod_template, template.pod_template),
            **{field: getattr(step, field) or getattr(template, field) for field in OVERRIDABLE},
        }
    )
