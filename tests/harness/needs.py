"""What a step waits for, read from a Pipeline's spec apart from the operator's own graph."""

from __future__ import annotations

import re

import orjson
from tests.harness.api import Object

USED_OUTPUT = re.compile(r"\$?\$\(steps\.([a-z0-9-]+)\.")


def needs(spec: Object) -> dict[str, set[str]]:
    """For each step those that must have succeeded before: its `needs`, and those whose outputs it uses."""
    names = {step["name"] for step in spec.get("steps", [])}
    return {step["name"]: _of(step) & names for step in spec.get("steps", [])}


def _of(step: Object) -> set[str]:
    text = orjson.dumps(step).decode()
    used = {match[1] for match in USED_OUTPUT.finditer(text) if not match[0].startswith("$$")}
    after = {item["step"] for item in step.get("after", []) if item.get("on", "Succeeded") == "Succeeded"}
    return set(step.get("needs", [])) | used | after
