"""A Pipeline out of a file."""

from __future__ import annotations

import sys
from pathlib import Path

from ..api.pipeline import PipelineSpec
from ..core.problems import summarise
from ..core.steptemplates import parse_pipeline
from . import documents
from .errors import CliError, Exit


def pipeline_in(file: Path, name: str | None = None) -> tuple[str, PipelineSpec]:
    """The Pipeline in a file, with its name.

    Args:
        file: path; `-` for standard input.
        name: of the one that is meant, where the file may have several.

    Raises:
        CliError: the file cannot be read, or has no such Pipeline, or more than one, or one that is not valid.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {error}", Exit.USAGE) from None
    values = [one.value for one in documents.read(text) if isinstance(one.value, dict)]
    found = {str((one.get("metadata") or {}).get("name")): one for one in values if one.get("kind") == "Pipeline"}
    if name is not None and name not in found:
        raise CliError(f"{file} has no Pipeline {name!r}; it has: {', '.join(found) or 'none'}", Exit.USAGE)
    if name is None and len(found) != 1:
        raise CliError(f"{file} has {len(found)} Pipelines; name one: {', '.join(found) or 'none'}", Exit.USAGE)
    chosen = name or next(iter(found))
    library = {
        str((one.get("metadata") or {}).get("name")): one.get("spec") or {}
        for one in values
        if one.get("kind") == "StepTemplate"
    }
    spec, problems = parse_pipeline(found[chosen].get("spec") or {}, library, chosen)
    if spec is None or problems:
        raise CliError(f"{file}: {summarise(problems)}; `dataops lint {file}` says where", Exit.FAILED)
    return chosen, spec
