"""Quantities as Kubernetes writes them (resource.Quantity): `500m`, `1Gi`, `2e3`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]*)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?|\.[0-9]+[numkMGTPE]?")
_NUMBER: Final = re.compile(r"[0-9.]+")
_UNITS: Final = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** (power - 3) for power, unit in enumerate("num")},
    **{unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")},
    **{f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")},
}


def parse_quantity(value: str | int) -> Decimal:
    """The number that a quantity stands for, in the unit of its resource: cores, bytes, pieces.

    Raises:
        ValueError: Kubernetes knows no such quantity.
    """
    text = str(value).strip()
    if not QUANTITY.fullmatch(text):
        raise ValueError(f"{value!r} is not a quantity; write a number with a unit such as 500m or 1Gi")
    number = _NUMBER.match(text)
    assert number is not None  # noqa: S101 - the pattern begins with a number
    unit = text[number.end() :]
    if unit[:1] in ("e", "E") and len(unit) > 1:
        return Decimal(number[0]) * Decimal(10) ** int(unit[1:])
    return Decimal(number[0]) * _UNITS[unit]


def format_bytes(number: Decimal) -> str:
    """A quantity of bytes in the largest of the binary units that leaves a whole number, such as `2Gi`."""
    size, unit = int(number), ""
    for larger in ("Ki", "Mi", "Gi", "Ti"):
        if size % 1024 or not size:
            break
        size, unit = size // 1024, larger
    return f"{size}{unit}"


def format_quantity(number: Decimal) -> str:
    """A quantity in thousandths where it is no whole number, such as `250m`; rounded up to a thousandth."""
    if number == number.to_integral_value():
        return str(int(number))
    return f"{int((number * 1000).to_integral_value(rounding='ROUND_CEILING'))}m"
