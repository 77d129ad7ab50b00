"""What commands print: tables as kubectl's, JSON and YAML for scripts, colours where a person looks."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import orjson
import yaml
from rich.console import Console, RenderableType
from rich.text import Text

from ..api.base import GROUP
from ..api.run import Phase

Object = dict[str, Any]

_WIDEST: Final = 4000
"""Characters; a message in a status has 1,024."""

STYLES: Final = {
    Phase.SUCCEEDED: "green",
    Phase.FAILED: "bold red",
    Phase.CANCELLED: "red",
    Phase.RUNNING: "cyan",
    Phase.WAITING: "yellow",
    Phase.PENDING: "dim",
    Phase.SKIPPED: "dim",
}


class Format(StrEnum):
    """Forms in which objects are printed."""

    TEXT = "text"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_scripts(self) -> bool:
        """Whether a program reads it, so that nothing else may stand beside it."""
        return self not in (Format.TEXT, Format.WIDE)


def console() -> Console:
    """Where results go. Made when it is needed, so that it is the standard output of that moment."""
    return Console(highlight=False, soft_wrap=True, file=sys.stdout)


def errors() -> Console:
    """Where everything goes that is no result."""
    return Console(highlight=False, soft_wrap=True, file=sys.stderr)


def note(message: str) -> None:
    """A word beside the result, on standard error."""
    errors().print(Text(message))


def show(what: RenderableType) -> None:
    """A drawing: as wide as the terminal, and as wide as it needs to be anywhere else, where nothing may be folded."""
    screen = console()
    if screen.is_terminal:
        screen.print(what)
        return
    wide = Console(highlight=False, file=io.StringIO(), width=_WIDEST)
    wide.print(what)
    for line in wide.file.getvalue().splitlines():  # type: ignore[attr-defined]
        plain(line.rstrip())


def phase_text(phase: str) -> Text:
    """A phase in its colour."""
    return Text(phase, STYLES.get(Phase(phase), "") if phase in Phase.__members__.values() else "")


def table(headers: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Text:
    """Columns side by side, three blanks between them, never cut: a script may read them, too."""
    lines: list[list[Text]] = [[Text(header.upper()) for header in headers]]
    lines += [[cell if isinstance(cell, Text) else Text(_flat(cell)) for cell in row] for row in rows]
    widths = [max(line[column].cell_len for line in lines) for column in range(len(headers))]
    out = Text()
    for line in lines:
        for column, cell in enumerate(line):
            out.append_text(cell)
            if column < len(line) - 1:
                out.append(" " * (widths[column] - cell.cell_len + 3))
        out.rstrip()
        out.append("\n")
    out.right_crop(1)
    return out


def _flat(cell: str) -> str:
    return " ".join(cell.split())


def as_json(value: Any) -> str:
    """JSON, indented."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS).decode()


def as_yaml(value: Any) -> str:
    """YAML, fields in their own order."""
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)).rstrip("\n")


def resource_name(obj: Object) -> str:
    """An object as `kubectl -o name` has it, such as `pipelinerun.dataops.dev/flights-1`."""
    return f"{str(obj.get('kind') or 'PipelineRun').lower()}.{GROUP}/{obj['metadata']['name']}"


def print_object(obj: Object, form: Format) -> None:
    """One object for scripts."""
    plain(resource_name(obj) if form is Format.NAME else _whole(obj, form))


def tell(obj: Object, form: Format, text: str) -> None:
    """What became of one object: a sentence for people, the object for scripts."""
    if not form.for_scripts:
        plain(text)
    else:
        print_object(obj, form)


def print_list(objects: list[Object], form: Format) -> None:
    """Objects for scripts."""
    if form is Format.NAME:
        for one in objects:
            plain(resource_name(one))
    else:
        plain(_whole({"apiVersion": "v1", "kind": "List", "items": objects}, form))


def _whole(value: Any, form: Format) -> str:
    return as_json(value) if form is Format.JSON else as_yaml(tidy(value))


def tidy(value: Any) -> Any:
    """A value without the API server's own bookkeeping, which no person reads."""
    if isinstance(value, dict):
        return {key: tidy(inner) for key, inner in value.items() if key != "managedFields"}
    if isinstance(value, list):
        return [tidy(one) for one in value]
    return value


def plain(text: str) -> None:
    """Text as it is: no colours, no markup, no wrapping."""
    sys.stdout.write(text + "\n")
