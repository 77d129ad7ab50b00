"""Typed parameters: reading values by their declared type, and checking them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson
import re2

from ..api.base import shallow
from ..api.environment import EnvironmentParameter
from ..api.parameter import Parameter, ParameterType
from .problems import Problem
from .templating import NUL, Reference, TemplateError, fill_deep

VALUE_LIMIT: Final = 32 * 1024
"""Bytes of one value as JSON: environment variables of a process are bounded by the kernel (128 KiB each)."""
TOTAL_LIMIT: Final = 96 * 1024
"""Bytes of all values as JSON: they travel in an annotation, and annotations share 256 KiB."""

QUIET: Final = re2.Options()
"""RE2 tells us of a bad pattern by an exception; it need not write to standard error, too."""
QUIET.log_errors = False

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A parameter as a run uses it."""

    name: str
    value: Any
    origin: str
    masked: bool = False
    """Whether the value is kept out of statuses, events and logs."""


def coerce(value: Any, type_: ParameterType) -> Any:
    """The value as its declared type has it; a string is read by the type.

    Dates come back as `YYYY-MM-DD`; a timestamp gives its date as written.

    Raises:
        ValueError: the value is not of the type; the message says what was expected.
    """
    try:
        return _READERS[type_](value)
    except (ValueError, TypeError, InvalidOperation):
        raise ValueError(f"{_show(value)} {_wrong(value, type_)}") from None


def _wrong(value: Any, type_: ParameterType) -> str:
    return NUL if isinstance(value, str) and "\0" in value else f"is not {_EXPECTED[type_]}"


def _string(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != math.floor(value):
        raise ValueError
    if not -(2**63) <= value < 2**63:
        raise ValueError
    return int(value)


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            raise ValueError  # float() takes 1_000 and nan as well
        value = _integer(text) if _INTEGER.fullmatch(text) else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise TypeError
    return value


def _date(value: Any) -> str:
    text = _string(value).strip()
    if not _DATE.match(text):
        raise ValueError  # fromisoformat() takes weeks such as 2013-W06-6 as well
    if len(text) == 10:
        return date.fromisoformat(text).isoformat()
    return datetime.fromisoformat(text).date().isoformat()


def _json(value: Any, kind: type) -> Any:
    if isinstance(value, str):
        value = shallow(orjson.loads(value))
    if not isinstance(value, kind):
        raise TypeError
    return value


_READERS: Final[dict[ParameterType, Callable[[Any], Any]]] = {
    ParameterType.STRING: _string,
    ParameterType.INTEGER: _integer,
    ParameterType.NUMBER: _number,
    ParameterType.BOOLEAN: _boolean,
    ParameterType.DATE: _date,
    ParameterType.ARRAY: lambda value: _json(value, list),
    ParameterType.OBJECT: lambda value: _json(value, dict),
}
_EXPECTED: Final = {
    ParameterType.STRING: "a string; write it in quotes",
    ParameterType.INTEGER: "a whole number of at most 64 bits",
    ParameterType.NUMBER: "a finite number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.DATE: "a date; write it as 2013-02-09",
    ParameterType.ARRAY: 'an array; write it as a list, or as JSON such as ["a", "b"]',
    ParameterType.OBJECT: 'an object; write it as a mapping, or as JSON such as {"a": 1}',
}


def _show(value: Any) -> str:
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def check(parameter: Parameter, value: Any, masked: bool = False) -> Any:
    """The value read by the parameter's type and held against its enum, bounds and pattern.

    Args:
        parameter: as the pipeline declares it.
        value: any JSON.
        masked: whether messages are kept free of the value.

    Raises:
        ValueError: it does not fit; the message says why and what fits.
    """

    def show(given: Any) -> str:
        return "the value, which is masked," if masked else _show(given)

    try:
        typed = coerce(value, parameter.type)
    except ValueError:
        raise ValueError(f"{show(value)} {_wrong(value, parameter.type)}") from None
    if len(orjson.dumps(typed)) > VALUE_LIMIT:
        raise ValueError(f"the value is larger than {VALUE_LIMIT // 1024} KiB; pass a location instead of the data")
    if parameter.enum is not None:
        allowed = [coerce(one, parameter.type) for one in parameter.enum]
        if typed not in allowed:
            raise ValueError(f"{show(typed)} is not one of {', '.join(_show(one) for one in allowed)}")
    for bound, word in ((parameter.minimum, "less"), (parameter.maximum, "greater")):
        if bound is None:
            continue
        limit, number = Decimal(str(bound)), Decimal(str(typed))
        if (number < limit) if word == "less" else (number > limit):
            raise ValueError(f"{show(typed)} is {word} than {bound}")
    if parameter.pattern is not None and re2.fullmatch(parameter.pattern, typed, QUIET) is None:
        raise ValueError(f"{show(typed)} does not match the pattern {parameter.pattern}")
    return typed


@dataclass(frozen=True, slots=True)
class RunContext:
    """What `$(run.…)` stands for."""

    name: str
    uid: str
    logical_date: str

    def resolve(self, reference: Reference) -> Any:
        """The value of a `$(run.…)` reference.

        Raises:
            TemplateError: there is no such name.
        """
        values = {
            ("run", "name"): self.name,
            ("run", "uid"): self.uid,
            ("run", "logicalDate"): self.logical_date,
        }
        if reference.path not in values:
            raise TemplateError(
                f"{reference.text}: no such name; known here are $(run.name), $(run.uid) and $(run.logicalDate)"
            )
        return values[reference.path]


@dataclass(frozen=True, slots=True)
class Offer:
    """The values that an environment gives.

    Attributes:
        environment: which one, as `<project>/<name>`; for the paths of problems.
        parameters: by name, whether a pipeline declares them or not.
    """

    environment: str
    parameters: Mapping[str, EnvironmentParameter]


def is_masked(parameter: Parameter, offer: Offer | None) -> bool:
    """Whether a parameter's value is kept out of sight: where the pipeline or the environment says so."""
    offered = offer.parameters.get(parameter.name) if offer is not None else None
    return parameter.masked or (offered is not None and offered.masked)


def resolve(
    declared: tuple[Parameter, ...], given: Mapping[str, Any], context: RunContext, offer: Offer | None = None
) -> tuple[list[Resolved], list[Problem]]:
    """Every declared parameter with its value for one run: the run's own, else the environment's, else the default.

    Args:
        declared: the pipeline's parameters.
        given: the run's own values by name, in its order; None counts as not given.
        context: what a default's `$(run.…)` stands for.
        offer: what the environment gives, where there is one; None as a value counts as not given.

    Returns:
        The parameters in the pipeline's order, and what is wrong with them; a problem's path is in the run, or in the
        environment, which it then names.
    """
    resolved: list[Resolved] = []
    problems = list(_unknown(declared, given))
    positions = {name: index for index, name in enumerate(given)}
    for parameter in declared:
        name, masked = parameter.name, is_masked(parameter, offer)
        offered = offer.parameters.get(name) if offer is not None else None
        if (value := given.get(name)) is not None:
            origin, path, cure = "Run", f"spec.parameters[{positions[name]}].value", ""
        elif offer is not None and offered is not None and (value := offered.value) is not None:
            origin, path = "Environment", f"Environment {offer.environment}: spec.parameters[{name}].value"
            cure = "; mend it there, or give the run a value of its own"
        elif (value := parameter.default) is not None:
            origin, path, cure = "Pipeline", "spec.parameters", ""
        else:
            problems.append(Problem("spec.parameters", f"no value for {name!r}, which has no default; give one"))
            continue
        try:
            if origin == "Pipeline":
                value = fill_deep(value, context.resolve)
            resolved.append(Resolved(name, check(parameter, value, masked), origin, masked))
        except ValueError as error:
            problems.append(Problem(path, f"{name}: {error}{cure}"))
    if sum(len(orjson.dumps(one.value)) for one in resolved) > TOTAL_LIMIT:
        problems.append(Problem("spec.parameters", f"all values together are larger than {TOTAL_LIMIT // 1024} KiB"))
    return resolved, problems


def _unknown(declared: tuple[Parameter, ...], given: Mapping[str, Any]) -> Iterator[Problem]:
    """What a run gives and the pipeline does not declare; an environment may give what is for others."""
    known = {parameter.name for parameter in declared}
    for index, name in enumerate(given):
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            yield Problem(f"spec.parameters[{index}].name", f"no parameter {name!r}; the pipeline has: {names}")
