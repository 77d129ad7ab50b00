"""What the code that is shipped never does (security check 16): run text as code, or read what can build objects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.operator import ROOT

SHIPPED = ("operator", "images", "examples")
"""What ends up in an image of ours; developers' tools and tests are not."""

CALLS = frozenset(
    """eval exec compile __import__ importlib.import_module os.system os.popen os.execv os.execvp pty.spawn
    yaml.load yaml.load_all yaml.full_load yaml.unsafe_load yaml.unsafe_load_all tempfile.mktemp
    asyncio.create_subprocess_shell subprocess.getoutput subprocess.getstatusoutput""".split()  # noqa: SIM905
)
MODULES = frozenset(("pickle", "marshal", "shelve", "dill", "jinja2", "mako", "telnetlib", "xml.sax", "xml.etree"))
KEYWORDS = {"shell": True, "verify": False, "verify_ssl": False, "ssl": False, "check_hostname": False}


def spelt(node: ast.expr) -> str:
    """A dotted name as it is written; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{spelt(node.value)}.{node.attr}"
    return ""


def offences(text: str) -> Iterator[str]:
    """Everything in a source text that is on the lists, as `line: what`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = {name.name for name in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found = {node.module or ""} & MODULES
        elif isinstance(node, ast.Call):
            found = {spelt(node.func)} & CALLS
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in KEYWORDS and value is KEYWORDS[keyword.arg]:
                    found.add(f"{keyword.arg}={value}")
        else:
            continue
        for what in found:
            yield f"{node.lineno}: {what}"


def sources() -> list[Path]:
    return [path for folder in SHIPPED for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_code_that_is_shipped_runs_no_text_and_trusts_no_data() -> None:
    files = sources()
    assert len(files) > 30
    found = [f"{path.relative_to(ROOT)}:{one}" for path in files for one in offences(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)",
        "import pickle",
        "from pickle import loads",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(words, shell=True)",
        "session.get(url, verify=False)",
        "from jinja2 import Template",
        "os.system('ls')",
    ],
)
def test_each_of_these_would_be_found(text: str) -> None:
    assert list(offences(text))


def test_yaml_is_read_only_where_an_administrator_wrote_it() -> None:
    """A user's YAML is parsed by the API server, which bounds aliases; what we read are our own files.

    The command line reads its user's own files on its user's own machine, in one place that bounds aliases itself.
    """
    ours = [path for path in sources() if "dataops_operator" in str(path)]
    readers = {path.name for path in ours if "safe_load" in path.read_text() or "SafeLoader" in path.read_text()}
    assert readers <= {"config.py", "servers.py", "documents.py"}
    (of_the_cli,) = [path for path in ours if path.name == "documents.py"]
    assert of_the_cli.parent.name == "cli"
