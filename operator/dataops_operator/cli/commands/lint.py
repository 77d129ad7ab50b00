"""`dataops lint`: files checked offline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from ...api.base import GROUP
from ..app import command
from ..errors import CliError, Exit
from ..lint import Finding, Lint
from ..output import as_json, console, note, plain

STANDARD_INPUT: Final = "-"
ENDINGS: Final = (".yaml", ".yml", ".json")


class Form(StrEnum):
    """Forms of what lint found."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


@command(
    "lint",
    "dataops lint pipelines/ run.yaml",
    "kustomize build overlays/prod | dataops lint -",
    "dataops lint --output github .",
)
def lint(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, or - for standard input.", show_default=False)
    ],
    output: Annotated[
        Form, typer.Option("--output", "-o", help="Form of the result; github annotates a pull request.")
    ] = Form.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
) -> Exit:
    """Check Pipelines, runs and Environments without a cluster.

    The rules are the API server's and the operator's own. What stands in the files together is checked together: a run
    with its Pipeline, in its Environment.
    """
    found = Lint()
    files = 0
    for path in paths:
        for name, text, asked in _texts(path):
            if text is None:
                files += 1
                found.unreadable(name)
            elif asked or _ours(text):
                files += 1
                found.read(name, text)
    found.check()
    if not found.objects and not found.findings:
        raise CliError(f"nothing to check: no object of {GROUP} in {', '.join(paths)}", Exit.USAGE)
    findings = sorted(found.findings)
    _PRINTERS[output](findings)
    warnings = len(findings) - found.errors
    if output is not Form.JSON:
        counts = ", ".join(_count(*one) for one in ((found.errors, "problem"), (warnings, "warning")) if one[0])
        note(f"{_count(found.objects, 'object')} in {_count(files, 'file')}: {counts or 'no problem'}")
    return Exit.FAILED if found.errors or (strict and warnings) else Exit.OK


def _texts(path: str) -> Iterator[tuple[str, str | None, bool]]:
    """The files that a path of the command line means: name, text, and whether it was named itself.

    One of a folder that cannot be read has no text: it is told with what is wrong in the others.
    """
    if path == STANDARD_INPUT:
        yield "<stdin>", sys.stdin.read(), True
        return
    place = Path(path)
    if place.is_dir():
        for file in sorted(place.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
            if file.suffix in ENDINGS and file.is_file() and not hidden:
                try:
                    yield str(file), file.read_text(encoding="utf-8"), False
                except (OSError, UnicodeDecodeError):
                    yield str(file), None, False
    else:
        yield path, _text(place), True


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CliError(f"there is no file or folder {str(file)!r}", Exit.USAGE) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{file} cannot be read: {error}", Exit.USAGE) from None


def _ours(text: str) -> bool:
    """Whether a file that was merely found in a folder is about our kinds, and no template of Helm's."""
    return f"{GROUP}/" in text and "{{" not in text


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# Forms.


def _as_text(findings: list[Finding]) -> None:
    screen = console()
    for one in findings:
        style = "bold red" if one.severity == "error" else "yellow"
        where = f"{one.path}: " if one.path else ""
        screen.print(
            Text.assemble(
                (f"{one.file}:{one.line}:{one.column}: ", "bold"), (one.severity, style), f": {where}{one.message}"
            )
        )


def _as_json(findings: list[Finding]) -> None:
    plain(as_json(findings))


def _for_github(findings: list[Finding]) -> None:
    """Workflow commands of GitHub Actions (their documentation, "Setting an error message")."""
    for one in findings:
        title = f"{one.kind} {one.name}".strip() or "YAML"
        where = f"file={_property(one.file)},line={one.line},col={one.column},title={_property(title)}"
        message = f"{one.path}: {one.message}" if one.path else one.message
        plain(f"::{one.severity} {where}::{_escaped(message)}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


_PRINTERS: Final = {Form.TEXT: _as_text, Form.JSON: _as_json, Form.GITHUB: _for_github}
