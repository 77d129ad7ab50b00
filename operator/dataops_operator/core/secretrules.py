"""What can be known to be wrong with secrets before they are read: sources, keys, files, and what steps name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ..api.pipeline import PipelineSpec
from ..api.secret import Credentials, StepSecret, VaultSource
from ..api.step import Step
from .graph import placed
from .problems import Problem, nearest
from .references import NONE, Declared, check_reference
from .secrets import TEMPLATE, is_file_name, path_problem
from .templating import Reference, TemplateError, references

RESERVED_VARIABLES: Final = ("DATAOPS_", "OPENLINEAGE_", "TRACEPARENT")
"""Beginnings of environment variables that belong to the step contract."""
_IN_PATH: Final = "only $(env.params.<name>) may stand in a path, so that who starts a run cannot choose what is read"
_IN_VALUE: Final = "only {roots} may stand here, since secrets are read before the first step that uses any"
OF_RUN: Final = ("params", "env", "run")
"""What a value that is sent to Vault may name in a Pipeline."""
OF_ENVIRONMENT: Final = ("env",)
"""The same in an Environment, whose targets are also touched where there is no run."""


def pipeline_problems(spec: PipelineSpec, parameters: Declared) -> Iterator[Problem]:
    """What is wrong with a Pipeline's secrets and with what its steps want of them.

    Args:
        spec: the Pipeline's.
        parameters: its parameters.
    """
    files: dict[str, frozenset[str] | None] = {}
    for index, secret in enumerate(spec.secrets or ()):
        path = f"spec.secrets[{index}]"
        if secret.name in files:
            yield Problem(f"{path}.name", f"the name {secret.name!r} is there already; names are unique")
        files[secret.name] = known_files(secret)
        yield from credential_problems(path, secret, parameters)
    for path, step in placed(spec):
        yield from _step(path, step, files)


def credential_problems(
    path: str, credentials: Credentials, parameters: Declared = NONE, roots: tuple[str, ...] = OF_RUN
) -> Iterator[Problem]:
    """What is wrong with a source, its keys and its files.

    Args:
        path: where it stands in the object, such as `spec.targets[0].postgres.credentials`.
        credentials: what to look at.
        parameters: what `$(params.<name>)` may name.
        roots: what templates of values may name at all.
    """
    yield from _source(f"{path}.vault", credentials.vault, parameters, roots)
    names: set[str] = set()
    for index, one in enumerate(credentials.keys or ()):
        where = f"{path}.keys[{index}]"
        name = one.name or one.key
        if not is_file_name(name):
            yield Problem(f"{where}.key", f"{name[:100]!r} is no file name; give the key another one with name")
        elif name in names:
            yield Problem(f"{where}.name", f"two files would be called {name!r}; rename one")
        names.add(name)
    for index, file in enumerate(credentials.files or ()):
        where = f"{path}.files[{index}]"
        if file.name in names:
            yield Problem(f"{where}.name", f"two files would be called {file.name!r}; rename one")
        names.add(file.name)
        yield from _template(f"{where}.template", file.template)


def known_files(credentials: Credentials) -> frozenset[str] | None:
    """The files that a secret will have; None where its keys are known only when it was read."""
    if credentials.keys is None:
        return None
    return frozenset(
        [*(one.name or one.key for one in credentials.keys), *(one.name for one in credentials.files or ())]
    )


def _template(path: str, template: str) -> Iterator[Problem]:
    for match in TEMPLATE.finditer(template):
        if match[1] is not None and match[2] is None:
            yield Problem(path, "a '$(' is never closed; write '$$(' for the text itself")
        elif match[1] == "":
            yield Problem(path, "'$()' names no key; write '$$(' for the text itself")


def _source(path: str, source: VaultSource, parameters: Declared, roots: tuple[str, ...]) -> Iterator[Problem]:
    if (source.path is None) == (source.transit is None):
        yield Problem(path, "give exactly one of path and transit")
    if source.version is not None and (source.path is None or source.data is not None):
        yield Problem(f"{path}.version", "version is for a path of a key-value engine; remove it")
    if source.data is not None and source.path is None:
        yield Problem(f"{path}.data", "data is written to a path; give the path")
    if source.path is not None:
        yield from _path(f"{path}.path", source.path)
    seen: set[str] = set()
    for index, one in enumerate(source.data or ()):
        where = f"{path}.data[{index}]"
        if one.name in seen:
            yield Problem(f"{where}.name", f"the name {one.name!r} is there already; names are unique")
        seen.add(one.name)
        yield from _value(f"{where}.value", one.value, parameters, roots)
    if source.transit is not None:
        yield from _value(f"{path}.transit.ciphertext", source.transit.ciphertext, parameters, roots)


def _path(path: str, text: str) -> Iterator[Problem]:
    """A path with its templates; what fills them in is held against the same rules when it is known."""
    sample = text
    for reference in references(text):
        if reference.path[:2] != ("env", "params"):
            yield Problem(path, f"{reference.text}: {_IN_PATH}")
        else:
            yield from _reference(path, reference, NONE)
        sample = sample.replace(reference.text, "x")
    if "$" in sample:
        yield Problem(path, f"a '$' in it is no template; {_IN_PATH}")
    elif wrong := path_problem(sample):
        yield Problem(path, wrong)


def _value(path: str, text: str, parameters: Declared, roots: tuple[str, ...]) -> Iterator[Problem]:
    for reference in references(text):
        if reference.path[0] not in roots:
            yield Problem(path, f"{reference.text}: {_IN_VALUE.format(roots=', '.join(roots))}")
        else:
            yield from _reference(path, reference, parameters)


def _reference(path: str, reference: Reference, parameters: Declared) -> Iterator[Problem]:
    try:
        check_reference(reference, parameters, {})
    except TemplateError as error:
        yield Problem(path, str(error))


def _step(path: str, step: Step, files: Mapping[str, Collection[str] | None]) -> Iterator[Problem]:
    variables = {variable.name: "env" for variable in step.env or ()}
    seen: set[str] = set()
    directories: set[str] = set()
    for index, wanted in enumerate(step.secrets or ()):
        where = f"{path}.secrets[{index}]"
        directory = wanted.as_ or wanted.name
        if directory in directories and wanted.name not in seen:
            yield Problem(f"{where}.as", f"the step has a secret of the name {directory!r} already; write another name")
        directories.add(directory)
        if wanted.name in seen:
            yield Problem(f"{where}.name", f"the name {wanted.name!r} is there already; names are unique")
        seen.add(wanted.name)
        if wanted.name not in files:
            yield Problem(f"{where}.name", f"no secret {wanted.name!r} in spec.secrets{nearest(wanted.name, files)}")
        yield from _variables(where, wanted, files.get(wanted.name), variables)


def _variables(
    path: str, wanted: StepSecret, files: Collection[str] | None, taken: dict[str, str]
) -> Iterator[Problem]:
    """The variables of one secret; `taken` are those that the step has already, and where they stand."""
    for index, one in enumerate(wanted.env or ()):
        where = f"{path}.env[{index}]"
        if one.name.startswith(RESERVED_VARIABLES):
            yield Problem(f"{where}.name", f"{one.name!r} belongs to the step contract; rename it")
        if one.name in taken:
            yield Problem(f"{where}.name", f"the step has a variable {one.name!r} already, in its {taken[one.name]}")
        taken.setdefault(one.name, f"secret {wanted.name}")
        if files is not None and one.key not in files:
            text = f"secret {wanted.name!r} has no file {one.key!r}{nearest(one.key, files)}"
            yield Problem(f"{where}.key", text)
