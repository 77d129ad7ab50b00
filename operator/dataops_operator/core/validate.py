"""Everything that can be known to be wrong with a Pipeline before it runs.

The API server's schema refuses what it can see; here is all of it again, plus what needs the graph. The reconciler
and the offline lint call this same code. Rules across many items cannot be CEL's: at 1,000 steps they exceed its cost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import re2
from pydantic import ValidationError

from ..api.base import parse_duration
from ..api.parameter import Parameter, ParameterType
from ..api.pipeline import Defaults, PipelineSpec, Workspace
from ..api.step import FailureClass, Retry, Step
from . import keyrules, scopes, secretrules
from .cacherules import cache_problems
from .containerrules import image_problems, resource_problems
from .flowrules import fan_out_problems, flow_problems, indexed_problems, result_problems
from .graph import own_name, placed, step_references, templated_fields
from .kindrules import final_problems, kind_problems
from .parameters import QUIET, check
from .problems import Problem
from .references import SAMPLE_RUN, Declared, check_reference, declared
from .stepfields import kind_of, output_names
from .templating import NUL, Reference, TemplateError, fill_deep, references, strings

_NO_LIMIT: Final = "limit is 0; set it to 1 or more"
_LONGEST: Final = "366d"
"""Longest duration; Kubernetes' own deadlines and the calendar end not far beyond."""


@dataclass(frozen=True, slots=True)
class _Names:
    parameters: Declared
    outputs: Mapping[str, frozenset[str]]
    ended: bool = False


def parse(raw: Mapping[str, Any]) -> tuple[PipelineSpec | None, list[Problem]]:
    """A Pipeline's spec as a model, and all that is wrong with it; None where it has not even the shape."""
    try:
        spec = PipelineSpec.model_validate(raw)
    except ValidationError as error:
        return None, shape_problems(error)
    return spec, list(problems_of(spec))


def shape_problems(error: ValidationError) -> list[Problem]:
    """What keeps a spec from being one, each with its path; never the value, which may be masked."""
    return [Problem(_where(one["loc"]), one["msg"]) for one in error.errors(include_url=False, include_input=False)]


def _where(location: tuple[int | str, ...]) -> str:
    return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def problems_of(spec: PipelineSpec) -> Iterator[Problem]:
    """What is wrong with a well-formed spec, each with its path and the cure."""
    names = _Names(
        declared(spec.parameters),
        {step.name: output_names(step) for _, step in placed(spec)},
    )
    final = {step.name for step in spec.finally_ or ()}
    yield from _parameters(spec.parameters or ())
    yield from _workspace(spec.workspace)
    hidden = {parameter.name for parameter in spec.parameters or () if parameter.masked}
    yield from keyrules.problems_of(spec.concurrency, names.parameters, hidden)
    if spec.timeout is not None:
        yield from _time("spec.timeout", spec.timeout)
    if spec.defaults is not None:
        yield from _defaults(spec.defaults, names)
    for path, step in placed(spec):
        yield from _step(path, step, spec, names if step.name not in final else replace(names, ended=True))
        if step.name in final:
            yield from final_problems(path, step)
    yield from _outputs(spec, names)
    yield from _shown(spec, hidden)
    yield from secretrules.pipeline_problems(spec, names.parameters)
    yield from flow_problems(spec, names.parameters, names.outputs)


def _outputs(spec: PipelineSpec, names: _Names) -> Iterator[Problem]:
    """What a run tells when it has succeeded: its steps' outputs, but not those of `finally`."""
    yield from _unique("spec.outputs", [one.name for one in spec.outputs or ()])
    final = {step.name for step in spec.finally_ or ()}
    for index, one in enumerate(spec.outputs or ()):
        for reference in (found for text in strings(one.value) for found in references(text)):
            if reference.path[0] == "steps" and reference.path[1] in final:
                text = f"{reference.text}: steps of spec.finally tell nothing of a run; name another step"
                yield Problem(f"spec.outputs[{index}].value", text)
            else:
                yield from _reference(f"spec.outputs[{index}].value", reference, names)


def _shown(spec: PipelineSpec, hidden: Collection[str]) -> Iterator[Problem]:
    """Masked parameters where what they are filled in for can be read by others."""
    places: list[tuple[str, Any, str]] = []
    for index, output in enumerate(spec.outputs or ()):
        places.append((f"spec.outputs[{index}].value", output.value, "the outputs of a run are shown in its status"))
    for path, step in placed(spec):
        if step.resource is not None:
            text = "the object would show it; have what runs there get it by itself"
            places.append((f"{path}.resource.manifest", step.resource.manifest, text))
        for index, one in enumerate(step.pipeline.parameters or () if step.pipeline is not None else ()):
            text = "the other run's spec would show it; have that pipeline get it by itself"
            places.append((f"{path}.pipeline.parameters[{index}].value", one.value, text))
    for path, value, why in places:
        for reference in (found for text in strings(value) for found in references(text)):
            if reference.path[0] == "params" and reference.path[1] in hidden:
                yield Problem(path, f"{reference.text} is masked, and {why}")


def _unique(path: str, values: list[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Problem(f"{path}[{index}].name", f"the name {value!r} is there already; names are unique")
        seen.add(value)


def _parameters(parameters: list[Parameter] | tuple[Parameter, ...]) -> Iterator[Problem]:
    yield from _unique("spec.parameters", [parameter.name for parameter in parameters])
    variables: dict[str, str] = {}
    for index, parameter in enumerate(parameters):
        path = f"spec.parameters[{index}]"
        other = variables.setdefault(parameter.name.upper(), parameter.name)
        if other != parameter.name:
            yield Problem(
                f"{path}.name",
                f"{parameter.name!r} and {other!r} would share the variable DATAOPS_PARAM_{other.upper()}; rename one",
            )
        yield from _parameter(path, parameter)


def _parameter(path: str, parameter: Parameter) -> Iterator[Problem]:
    if parameter.required and parameter.default is not None:
        yield Problem(f"{path}.default", "a required parameter has no default; remove required or default")
    sound = True
    for field, bound in (("minimum", parameter.minimum), ("maximum", parameter.maximum)):
        if bound is None:
            continue
        if parameter.type not in (ParameterType.INTEGER, ParameterType.NUMBER):
            sound = False
            yield Problem(f"{path}.{field}", f"{field} is for the types Integer and Number; remove it")
        elif not _is_decimal(bound):
            sound = False
            yield Problem(f"{path}.{field}", f"{bound!r} is not a number")
    if parameter.pattern is not None:
        if parameter.type != ParameterType.STRING:
            sound = False
            yield Problem(f"{path}.pattern", "pattern is for the type String; remove it")
        else:
            try:
                re2.compile(parameter.pattern, QUIET)
            except re2.error as error:
                sound = False
                yield Problem(f"{path}.pattern", f"not a regular expression of RE2's syntax: {_words(error)}")
    if not sound:
        return
    if (
        parameter.minimum is not None
        and parameter.maximum is not None
        and Decimal(str(parameter.minimum)) > Decimal(str(parameter.maximum))
    ):
        yield Problem(f"{path}.minimum", f"minimum {parameter.minimum} is greater than maximum {parameter.maximum}")
    yield from _values(path, parameter)


def _values(path: str, parameter: Parameter) -> Iterator[Problem]:
    """The enum's members and the default must themselves fit."""
    without_enum = parameter.model_copy(update={"enum": None})
    enum_fits = True
    for index, member in enumerate(parameter.enum or ()):
        try:
            check(without_enum, member)
        except ValueError as error:
            enum_fits = False
            yield Problem(f"{path}.enum[{index}]", str(error))
    if parameter.default is not None and enum_fits:
        default = parameter.default
        try:
            filled = fill_deep(default, SAMPLE_RUN.resolve)
            if filled != default and parameter.type != ParameterType.DATE:
                return  # what a run will be called, or when it is for, cannot be held against bounds now
            check(parameter, filled)
        except ValueError as error:
            yield Problem(f"{path}.default", str(error))


def _is_decimal(value: int | str) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _words(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode() if isinstance(text, bytes) else str(text)


def _workspace(workspace: Workspace | None) -> Iterator[Problem]:
    if workspace is None:
        return
    if (workspace.claim is None) == (workspace.size is None):
        yield Problem(
            "spec.workspace",
            "a workspace is either size (a new claim for each run) or claim (one that exists); give exactly one",
        )
    for field, value in (("storageClass", workspace.storage_class), ("accessMode", workspace.access_mode)):
        if workspace.claim is not None and value is not None:
            yield Problem(f"spec.workspace.{field}", "belongs to a new claim; remove it, or give size instead of claim")


def _defaults(defaults: Defaults, names: _Names) -> Iterator[Problem]:
    path = "spec.defaults"
    yield from _times(path, defaults)
    yield from resource_problems(f"{path}.resources", defaults.resources)
    if defaults.image is not None:
        yield from image_problems(f"{path}.image", defaults.image)
    for reference in references(defaults.image or ""):
        if reference.path[0] == "steps":
            text = f"{reference.text}: every step would need that step, itself as well; write it in a step's own image"
            yield Problem(f"{path}.image", text)
        else:
            yield from _reference(f"{path}.image", reference, names)


def _times(path: str, part: Step | Defaults) -> Iterator[Problem]:
    """The durations of a step, or of the defaults."""
    for field, text in (("timeout", part.timeout), ("startTimeout", part.start_timeout)):
        if text is not None:
            yield from _time(f"{path}.{field}", text)
    if part.retry is not None:
        yield from _retry(f"{path}.retry", part.retry)


def _time(path: str, text: str) -> Iterator[Problem]:
    """A duration that bounds something."""
    yield from _duration(path, text)
    if parse_duration(text) == 0:
        yield Problem(path, f"{text} is no time at all; write at least 1s")


def _duration(path: str, text: str) -> Iterator[Problem]:
    if parse_duration(text) > parse_duration(_LONGEST):
        yield Problem(path, f"{text} is longer than {_LONGEST}; write less")


def _retry(path: str, retry: Retry) -> Iterator[Problem]:
    initial, longest = retry.backoff.initial, retry.backoff.max
    yield from _duration(f"{path}.backoff.max", longest)
    if parse_duration(initial) > parse_duration(longest):
        yield Problem(f"{path}.backoff.initial", f"initial {initial} is longer than max {longest}; write less")
    if retry.memory is not None and FailureClass.OUT_OF_MEMORY not in retry.on:
        yield Problem(f"{path}.memory", "no attempt follows one that was OutOfMemory; add OutOfMemory to on")
    elif retry.memory is not None and not retry.limit:
        yield Problem(f"{path}.memory", f"no attempt follows one that was OutOfMemory: {_NO_LIMIT}")
    yield from _exit_codes(f"{path}.exitCodes", retry)


def _exit_codes(path: str, retry: Retry) -> Iterator[Problem]:
    """What exit codes say that can never mean anything."""
    codes = retry.exit_codes
    if codes is None:
        return
    if FailureClass.FAILURE not in retry.on:
        yield Problem(path, "no attempt follows a Failure; add Failure to on")
    elif not retry.limit:
        yield Problem(path, f"no attempt follows a Failure: {_NO_LIMIT}")
    for index, code in enumerate(codes.never or ()):
        if code in (codes.retry or ()):
            text = (
                f"{code} is in retry, too, and is either worth another attempt or never; remove it from one of the two"
            )
            yield Problem(f"{path}.never[{index}]", text)


def _reference(path: str, reference: Reference, names: _Names, own: str | None = None) -> Iterator[Problem]:
    try:
        check_reference(reference, names.parameters, names.outputs, ended=names.ended, own=own)
    except TemplateError as error:
        yield Problem(path, str(error))


def _step(path: str, step: Step, spec: PipelineSpec, names: _Names) -> Iterator[Problem]:
    if kind_of(step) is None:
        yield from _container(path, step, spec)
    else:
        yield from kind_problems(path, step)
    yield from _times(path, step)
    yield from resource_problems(f"{path}.resources", step.resources)
    yield from _unique(f"{path}.outputs", [output.name for output in step.outputs or ()])
    yield from _unique(f"{path}.env", [variable.name for variable in step.env or ()])
    for index, variable in enumerate(step.env or ()):
        if variable.name.startswith(secretrules.RESERVED_VARIABLES):
            yield Problem(f"{path}.env[{index}].name", f"{variable.name!r} belongs to the step contract; rename it")
    for field, text in (*templated_fields(step), ("script", step.script or "")):
        if "\0" in text:
            yield Problem(f"{path}.{field}", NUL)
    yield from _step_references(path, step, names)
    yield from result_problems(path, step)
    yield from cache_problems(path, step, spec)
    if step.for_each is not None:
        yield from fan_out_problems(f"{path}.forEach", step.for_each)
        yield from indexed_problems(path, step)


def _container(path: str, step: Step, spec: PipelineSpec) -> Iterator[Problem]:
    kinds = [
        kind
        for kind, present in (
            ("command and args", step.command is not None or step.args is not None),
            ("script", step.script is not None),
        )
        if present
    ]
    if len(kinds) > 1:
        yield Problem(path, f"a step is one of {' or '.join(kinds)}, not both; remove one")
    if not kinds and step.image is None and step.template is None:
        yield Problem(path, "nothing to run; give command, args, script, or an image whose own entrypoint is run")
    if step.image is not None:
        yield from image_problems(f"{path}.image", step.image)
    elif spec.defaults is None or spec.defaults.image is None:
        yield Problem(f"{path}.image", "no image; give one here or in spec.defaults.image")


def _step_references(path: str, step: Step, names: _Names) -> Iterator[Problem]:
    own = own_name(step) if step.for_each is not None else None
    for field, reference in step_references(step):
        if reference.path[0] != scopes.ROOT or step.template is None:  # its template's own, and held against that
            yield from _reference(f"{path}.{field}", reference, names, None if field.startswith("forEach.") else own)
