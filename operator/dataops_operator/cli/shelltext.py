"""Templates inside shell text: what a run's value says there is run as code, and a script takes none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from ..api.pipeline import PipelineSpec
from ..api.step import Step
from ..core.graph import placed
from ..core.problems import Problem
from ..core.templating import Reference, references

_SHELLS: Final = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"))
_TEXT_FOLLOWS: Final = re.compile(r"-[a-zA-Z]*c")
"""The option after which a shell's text stands; others may be written with it, as in `-euc`."""
_TAKES_ONE: Final = re.compile(r"[-+][a-zA-Z]*[oO]")
"""An option with a value of its own, as in `-euo pipefail`."""


def warnings_of(spec: PipelineSpec) -> Iterator[Problem]:
    """Every template inside the text of a `sh -c` or of a script, with the way to hand the value over as a value."""
    for path, step in placed(spec):
        for reference in dict.fromkeys(references(step.script or "")):
            text = f"{reference.text} is not filled in: a script takes no templates; {_cure(reference)}"
            yield Problem(f"{path}.script", text)
        words = _words(step)
        found = _shell_text([text for _, text in words])
        if found is None:
            continue
        field, text = words[found]
        for reference in dict.fromkeys(references(text)):
            yield Problem(f"{path}.{field}", f"{reference.text} is pasted into shell text, where a value "
                          f"such as '; rm -rf .' is run as code; {_cure(reference)}")  # fmt: skip


def _words(step: Step) -> list[tuple[str, str]]:
    """A step's command line, each word with its field."""
    return [
        (f"{field}[{index}]", text)
        for field, texts in (("command", step.command), ("args", step.args))
        for index, text in enumerate(texts or ())
    ]


def _shell_text(words: list[str]) -> int | None:
    """Where a command line has the text that a shell runs; None where there is none."""
    shell = next((index for index, word in enumerate(words) if PurePosixPath(word).name in _SHELLS), None)
    if shell is None:
        return None
    position = shell + 1
    while position < len(words) - 1:
        word = words[position]
        if _TEXT_FOLLOWS.fullmatch(word):
            return position + 1
        if not word.startswith(("-", "+")) and PurePosixPath(word).name not in _SHELLS:
            return None  # the shell runs a file
        position += 2 if _TAKES_ONE.fullmatch(word) else 1
    return None


def _cure(reference: Reference) -> str:
    root, *rest = reference.path
    if root == "params" and len(rest) == 1:
        return f'write "$DATAOPS_PARAM_{rest[0].upper()}", which every step has'
    if reference.path == ("run", "name"):
        return 'write "$DATAOPS_RUN", which every step has'
    if reference.path == ("run", "logicalDate"):
        return 'write "$DATAOPS_LOGICAL_DATE", which every step has'
    return f'give it a variable, env: [{{name: VALUE, value: {reference.text}}}], and write "$VALUE"'
