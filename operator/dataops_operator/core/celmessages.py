"""What the CEL library says, said to the person who wrote the expression.

A message of the library may quote a value, and a value may be one that is masked: what it quotes stands in ours only
where it stands in the expression as well.
"""

from __future__ import annotations

import re
from typing import Final

_TYPES: Final = {
    "BOOL": "a boolean",
    "INT": "an integer",
    "UINT": "an unsigned integer",
    "DOUBLE": "a number",
    "STRING": "a string",
    "BYTES": "bytes",
    "NULL": "null",
    "TIMESTAMP": "a timestamp",
    "DURATION": "a duration",
}
_OPERATORS: Final = {"@in": "in", "_[_]": "[]", "_?_:_": "?:", "<jump_condition>": "?:"}
_SPOKEN: Final = (
    (r".*xceeded.*recursion depth.*|.*recursion limit exceeded.*", "it is nested deeper than 32 levels"),
    (r"Syntax error: (?:mismatched|extraneous) input (.*?)(?: expecting .*)?", r"unexpected \1"),
    (r"Syntax error: (?:no viable alternative at input|token recognition error at:) (.*)", r"unexpected \1"),
    (r"Syntax error: (.*?)(?: expecting .*)?", r"\1"),
    (r"Iteration budget exceeded", "its loops would turn more than 10,000 times in all"),
    (r"Index error: index=(-?\d+) size=(\d+)", r"a list of \2 has no element \1, counted from 0"),
    (r'Key not found in map : (".*)', r"a map has no \1"),
    (r"Key not found in map : (.*)", r"a map has no key \1"),
    (r"Integer value .*", "an integer is beyond 64 bits"),
    (r"Applying SELECT to non-message type", "a value that is no map is asked for a field"),
    (r'No value with name "(\w+)" found in Activation', r"there is no \1"),
    (r"undeclared reference to '(\w+)'.*", r"'\1' is not called like this"),
    (r"basic_string.*", "a string is no Unicode"),
)
_LACKED: Final = re.compile(r"^(a map has no|a list of \d+ has no) (key|element) ([-+\w.]+)")
_UNLIKE: Final = (
    (r"Invalid container type: '(.*)'", "{} has no parts; use it whole"),
    (r"Invalid map key type: '(.*)'", "{} is no key of a map; use a string"),
    (r"Index error: expected integer type, got (.*)", "{} counts no elements of a list; use an integer, from 0"),
)
"""What the library says of one value's type, which it writes as `int` or `google.protobuf.Timestamp`."""


def place(text: str, at: int) -> str:
    """Where a character stands in an expression, counted from 1."""
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return f"at line {line}, column {column}" if "\n" in text else f"at column {column}"


def type_name(name: str) -> str:
    """What users call a type of the library's."""
    return _TYPES.get(name, {"L": "a list", "M": "a map", "T": "a type"}.get(name[:1], "a value of any type"))


def compiler_message(message: str, text: str) -> str:
    """Why an expression does not compile."""
    found = re.search(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)", message)
    if found is None:
        return value_message(message, text)
    said = _spoken(found[3])
    if min(int(found[1]), int(found[2])) < 1:
        return said
    where = f"line {found[1]}, column {found[2]}" if "\n" in text else f"column {found[2]}"
    return f"{said} at {where}"


def value_message(message: str, text: str) -> str:
    """Why an expression has no value."""
    said = _spoken(re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", message))
    said = re.sub(r'"([^"]*)"', lambda quoted: quoted[0] if quoted[0] in text else "such value", said)
    return _LACKED.sub(lambda found: found[0] if _written(found[3], text) else f"{found[1]} such {found[2]}", said)


def _written(number: str, text: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", text) is not None


def _shorter(found: re.Match[str]) -> str:
    return "int" if found[0] == "int64" else found[0][-1].lower()


def _spoken(message: str) -> str:
    message = re.sub(r" \[[A-Z_]+\]$", "", message).replace("'<EOF>'", "end")
    overload = re.fullmatch(r"found no matching overload for '(.*?)' applied to '(.*)'", message)
    overload = overload or re.fullmatch(r"No matching overloads found : (\S*?)(\(.*\))", message)
    if overload is not None:
        operator = _OPERATORS.get(overload[1], overload[1].strip("_"))
        return f"{operator!r} does not take {re.sub('int64|google[.]protobuf[.][A-Z]', _shorter, overload[2])}"
    unlike = re.fullmatch(r"No matching overloads found : (\S+)", message)
    if unlike is not None and unlike[1] == "<iter_range>":
        return "a loop goes over a list or a map, and this is neither"
    if unlike is not None:
        operator = _OPERATORS.get(unlike[1], unlike[1].strip("_"))
        return f"{operator!r} does not take what it is given"
    for pattern, ours in _UNLIKE:
        found = re.fullmatch(pattern, message)
        if found is not None:
            return ours.format(type_name(found[1].rpartition(".")[2].removesuffix("_type").upper()))
    for pattern, ours in _SPOKEN:
        found = re.fullmatch(pattern, message)
        if found is not None:
            return found.expand(ours)
    return message
