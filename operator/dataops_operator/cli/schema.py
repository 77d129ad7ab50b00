"""An object held against the schema of its CRD, as the API server holds it: unknown fields, types, bounds, lists.

The models in `api/` are more lenient where that is right for the operator (they pass over unknown fields, and read "7"
as a number), so lint asks the schema that is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

import orjson

from ..api.crd import KINDS, crd
from ..core.expressions import ExpressionError, compile_condition, holds
from ..core.problems import Problem, nearest

Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "array": (list,),
    "object": (dict,),
}
_WANTED: Final = {
    "string": "a text; write it in quotes",
    "boolean": "true or false, without quotes",
    "integer": "a whole number, without quotes",
    "number": "a number, without quotes",
    "array": "a list; begin each item with '- '",
    "object": "a mapping of fields",
}
_SHOWN: Final = 60
# fmt: off
_RESERVED: Final = frozenset((
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
    "loop", "package", "namespace", "return", "var", "void", "while",
))
# fmt: on
"""Words that a rule writes between `__` where they are names of fields (Kubernetes' API conventions for CEL)."""


@cache
def schema_of(kind: str) -> Schema | None:
    """The schema of a kind; None for a kind that is none of ours."""
    found = next((one for one in KINDS if one["kind"] == kind), None)
    if found is None:
        return None
    version: Schema = crd(found)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return version


def problems_of(kind: str, obj: Mapping[str, Any]) -> list[Problem]:
    """What the API server's schema would refuse of an object, its metadata and status apart."""
    schema = schema_of(kind)
    if schema is None:
        return []
    known = {**schema["properties"], "metadata": {"x-kubernetes-preserve-unknown-fields": True}}
    required = [one for one in schema.get("required", ()) if one != "metadata"]
    shape = {**schema, "properties": known, "required": required}
    given = {key: value for key, value in obj.items() if key != "status"}
    return list(_object("", given, shape))


def rule_problems(kind: str, obj: Mapping[str, Any]) -> Iterator[Problem]:
    """What the CEL rules of the schema would refuse of an object whose shape is right.

    Rules that compare with what was there before hold nothing against a file.
    """
    schema = schema_of(kind)
    if schema is not None:
        yield from _rules("", {key: value for key, value in obj.items() if key != "status"}, schema)


def _rules(path: str, value: Any, schema: Schema) -> Iterator[Problem]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"]:
            yield from _rule(path, value, rule)
    if isinstance(value, dict):
        others = schema.get("additionalProperties")
        for name, inner in value.items():
            known: Schema | None = schema.get("properties", {}).get(name)
            if inner is not None and (found := known or others):
                where = f"{path}[{name}]" if known is None else f"{path}.{name}" if path else name
                yield from _rules(where, inner, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _rules(f"{path}[{index}]", item, schema.get("items", {}))


def _rule(path: str, value: Any, rule: Mapping[str, str]) -> Iterator[Problem]:
    where = path + rule.get("fieldPath", "") or "metadata.name"  # all that a kind's own rules are about
    try:
        condition = compile_condition(rule["rule"], ("self",))
    except ExpressionError:
        return  # with a function of Kubernetes' own, such as isCIDR; core holds the same
    try:
        if not holds(condition, {"self": _for_cel(value)}):
            yield Problem(where, rule["message"])
    except ExpressionError as error:
        yield Problem(where, f"{rule['message']} ({error})")


def _for_cel(value: Any) -> Any:
    """A value as the API server hands it to its rules: without nulls, and with CEL's reserved words escaped."""
    if isinstance(value, dict):
        pairs = ((f"__{key}__" if key in _RESERVED else key, inner) for key, inner in value.items())
        return {key: _for_cel(inner) for key, inner in pairs if inner is not None}
    return [_for_cel(one) for one in value] if isinstance(value, list) else value


def _check(path: str, value: Any, schema: Schema) -> Iterator[Problem]:
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield Problem(path, f"{_show(value)} is not a whole number or a text; write a fraction in quotes")
        return
    type_ = schema.get("type")
    if type_ is None:
        return  # any JSON
    if not _is(type_, value):
        yield Problem(path, f"{_show(value)} is not {_WANTED[type_]}")
    elif type_ == "object":
        yield from _object(path, value, schema)
    elif type_ == "array":
        yield from _array(path, value, schema)
    elif type_ == "string":
        yield from _string(path, value, schema)
    elif type_ in ("integer", "number"):
        yield from _number(path, value, schema)


def _is(type_: str, value: Any) -> bool:
    if type_ != "boolean" and isinstance(value, bool):
        return False
    if type_ == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[type_])


def _object(path: str, value: Mapping[str, Any], schema: Schema) -> Iterator[Problem]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties")
    if len(value) > schema.get("maxProperties", len(value)):
        yield Problem(path, f"{len(value)} entries; at most {schema['maxProperties']} are allowed")
    for name in schema.get("required", ()):
        if value.get(name) is None:
            yield Problem(f"{path}.{name}" if path else name, "missing; add it")
    for name, inner in value.items():
        where = f"{path}.{name}" if path else name
        if name in properties:
            if inner is not None:  # the API server drops a null
                yield from _check(where, inner, properties[name])
        elif isinstance(others, Mapping):
            yield from _check(f"{path}[{name}]", inner, others)
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield Problem(where, f"no field {name!r} here{_meant(name, properties)}")


def _meant(name: str, properties: Mapping[str, Schema]) -> str:
    """What may have been meant by a field; a slip of the case is the commonest."""
    same = [one for one in properties if one.lower() == name.lower().replace("_", "").replace("-", "")]
    if same or get_close_matches(name, properties, 1):
        return f"; did you mean {(same or get_close_matches(name, properties, 1))[0]!r}?"
    return nearest(name, sorted(properties))


def _array(path: str, value: list[Any], schema: Schema) -> Iterator[Problem]:
    if len(value) > schema.get("maxItems", len(value)):
        yield Problem(path, f"{len(value)} items; at most {schema['maxItems']} are allowed")
    if len(value) < schema.get("minItems", 0):
        yield Problem(path, f"{len(value)} items; at least {schema['minItems']} must be there")
    for index, item in enumerate(value):
        yield from _check(f"{path}[{index}]", item, schema["items"])
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if schema.get("x-kubernetes-list-type") in ("map", "set"):
        yield from _twice(path, value, keys)


def _twice(path: str, value: list[Any], keys: list[str]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, item in enumerate(value):
        if keys and not isinstance(item, dict):
            continue
        identity = repr([item.get(key) for key in keys] if keys else item)
        first = seen.setdefault(identity, index)
        if first != index:
            where = f"{path}[{index}]{f'.{keys[0]}' if keys else ''}"
            shown = _show(item.get(keys[0]) if keys else item)
            yield Problem(where, f"{shown} is there already, as {path}[{first}]; names are unique")


def _string(path: str, value: str, schema: Schema) -> Iterator[Problem]:
    allowed = schema.get("enum")
    if allowed is not None:
        if value not in allowed:
            yield Problem(path, f"{_show(value)} is not one of {', '.join(allowed)}{_close(value, allowed)}")
        return
    if len(value) > schema.get("maxLength", len(value)):
        yield Problem(path, f"{len(value)} characters; at most {schema['maxLength']} are allowed")
    elif len(value) < schema.get("minLength", 0):
        yield Problem(path, "nothing in it; write something, or remove the field")
    elif "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield Problem(path, f"{_show(value)} is not of the form {schema['pattern']}")


def _close(value: str, allowed: list[str]) -> str:
    same = [one for one in allowed if one.lower() == value.lower()] or get_close_matches(value, allowed, 1)
    return f"; did you mean {same[0]}?" if same else ""


def _number(path: str, value: float, schema: Schema) -> Iterator[Problem]:
    if value < schema.get("minimum", value):
        yield Problem(path, f"{value} is less than {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield Problem(path, f"{value} is greater than {schema['maximum']}")


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
