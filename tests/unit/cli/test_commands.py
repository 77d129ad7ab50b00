"""The commands as somebody types them, as far as they need no cluster."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from dataops_operator.cli.errors import CliError, Exit, refused
from dataops_operator.cli.kubeconfig import connect
from dataops_operator.cli.main import load

APP = load()
COMMANDS: dict[str, Any] = typer.main.get_command(APP).commands  # type: ignore[attr-defined]


def dataops(*words: str, text: str | None = None) -> Result:
    return CliRunner().invoke(APP, list(words), input=text)


def test_each_command_has_examples_that_are_command_lines() -> None:
    for name, command in COMMANDS.items():
        examples = [line for line in command.epilog.split("\n\n") if "dataops " in line]
        assert examples, name
        for line in examples:
            words = shlex.split(
                line.rpartition("| dataops")[2] if "| dataops" in line else line.removeprefix("dataops")
            )
            words = words[: words.index("|")] if "|" in words else words
            assert words[0] == name, line
            command.make_context(name, words[1:])


@pytest.mark.parametrize("name", ["approve", "reject", "cancel", "suspend", "resume", "run", "rerun", "get", "list"])
def test_what_is_about_runs_has_a_form_for_scripts(name: str) -> None:
    objects = ["r", "step"] if name in ("approve", "reject") else ["r"] if name != "list" else []
    assert COMMANDS[name].make_context(name, [*objects, "-o", "yaml"]).params["output"] == "yaml"


def test_help_shows_the_examples() -> None:
    for name in COMMANDS:
        shown = dataops(name, "--help")
        assert shown.exit_code == 0
        assert f"dataops {name}" in shown.stdout


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["list", "--bogus"], ["run"], ["list", "--phase", "Done"]])
def test_a_wrong_command_line_ends_with_2(words: list[str]) -> None:
    assert dataops(*words).exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "p", "-p", "day"], "'day' is not NAME=VALUE"),
        (["run", "p", "-p", "day=1", "-p", "day=2"], "'day' is given twice"),
        (["run", "p", "--logical-date", "yesterday"], "'yesterday' is no time; write it as 2013-02-09"),
        (["run", "p", "--logical-date", "2013-02-30"], "'2013-02-30' is no time"),
        (["watch", "r", "--timeout", "5 minutes"], "is not a duration"),
        (["run", "p", "--timeout", "5m"], "it bounds how long --watch waits; add that"),
        (["cancel", "r", "--timeout", "5m"], "it bounds how long --watch waits; add that"),
        (["rerun", "r", "--timeout", "5m"], "it bounds how long --watch waits; add that"),
        (["logs", "r", "--previous", "--follow"], "goes with neither --attempt nor --follow"),
        (["logs", "r", "--item", "3"], "is of one step; name it"),
        (["graph"], "name a Pipeline, or give --file or --run"),
        (["diff", "p", "1", "2", "--file", "x"], "goes with no NEW"),
    ],
)
def test_a_wrong_value_is_told_before_anything_is_asked_of_a_cluster(words: list[str], told: str) -> None:
    done = dataops(*words)
    assert done.exit_code == Exit.USAGE
    assert told in " ".join(done.stderr.replace("│", " ").split())


# lint.

GOOD = """
apiVersion: dataops.dev/v1alpha1
kind: Pipeline
metadata: {name: p}
spec: {parameters: [{name: day}], steps: [{name: a, image: i, command: [sh, -c, "echo $(params.day)"]}]}
"""
BAD = GOOD.replace("image:", "imag%e:")


def test_lint_passes_with_warnings_unless_it_is_strict(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    done = dataops("lint", str(tmp_path))
    assert done.exit_code == Exit.OK
    assert f"{tmp_path}/p.yaml:5:" in done.stdout
    assert "warning: spec.steps[0].command[2]" in done.stdout
    assert done.stderr == "1 object in 1 file: 1 warning\n"
    assert dataops("lint", "--strict", str(tmp_path)).exit_code == Exit.FAILED


def test_lint_reads_standard_input_and_fails_with_1() -> None:
    done = dataops("lint", "-", text=BAD)
    assert done.exit_code == Exit.FAILED
    assert done.stdout.startswith("<stdin>:5:")


def test_lint_as_json_and_for_github() -> None:
    found = json.loads(dataops("lint", "-", "-o", "json", text=BAD).stdout)
    assert [(one["severity"], one["line"], one["kind"], one["name"]) for one in found][:1] == [
        ("error", 5, "Pipeline", "p")
    ]
    assert "no field 'imag%e' here; did you mean 'image'?" in [one["message"] for one in found]
    shown = dataops("lint", "-", "-o", "github", text=BAD).stdout
    assert "::error file=<stdin>,line=5,col=" in shown
    assert ",title=Pipeline p::spec.steps[0].imag%25e: no field 'imag%25e' here" in shown


def test_lint_passes_over_what_is_not_ours_in_a_folder_but_not_what_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    (tmp_path / "chart.yaml").write_text("{{ if .x }}\napiVersion: dataops.dev/v1alpha1\n{{ end }}")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "latin.yaml").write_bytes(b"a: caf\xe9")
    found = dataops("lint", str(tmp_path))
    told = f"{tmp_path}/latin.yaml:1:1: error: cannot be read as UTF-8 text; save it as that"
    assert (found.exit_code, told in found.stdout) == (Exit.FAILED, True), "and the others are told all the same"
    assert "p.yaml" in found.stdout
    (tmp_path / "latin.yaml").unlink()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "p.yaml").write_text(BAD)
    assert dataops("lint", str(tmp_path)).exit_code == Exit.OK
    assert dataops("lint", str(tmp_path / "broken.yaml")).exit_code == Exit.FAILED


@pytest.mark.parametrize("text", ["", "apiVersion: v1\nkind: ConfigMap"])
def test_lint_that_finds_nothing_to_check_is_no_success(text: str) -> None:
    done = dataops("lint", "-", text=text)
    assert (done.exit_code, done.stderr) == (Exit.USAGE, "dataops: nothing to check: no object of dataops.dev in -\n")
    assert dataops("lint", "/nowhere").exit_code == Exit.USAGE


def test_a_graph_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    assert dataops("graph", "-f", str(tmp_path / "p.yaml")).stdout == "○  a\n"
    assert dataops("graph", "-f", "-", "-o", "mermaid", text=GOOD).stdout == 'flowchart TD\n  s0["a"]\n'
    assert dataops("graph", "other", "-f", "-", text=GOOD).exit_code == Exit.USAGE
    assert dataops("graph", "-f", "-", text=BAD).exit_code == Exit.FAILED


# Which cluster.


def kubeconfig(
    path: Path, *contexts: tuple[str, str | None], current: str = "", server: str = "https://127.0.0.1:1"
) -> str:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [
            {"name": name, "context": {"cluster": "c", "user": "u", **({"namespace": space} if space else {})}}
            for name, space in contexts
        ],
    }
    path.write_text(yaml.safe_dump({**body, **({"current-context": current} if current else {})}))
    return str(path)


def test_the_namespace_is_the_contexts_unless_another_is_given(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "a", ("one", "shop"), ("two", None), current="one")
    assert connect(file, None, None).namespace == "shop"
    assert connect(file, "two", None).namespace == "default"
    assert connect(file, None, "mine").namespace == "mine"


def test_of_several_kubeconfigs_the_first_word_counts_as_for_kubectl(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", ("one", "from-first"))
    second = kubeconfig(tmp_path / "b", ("one", "from-second"), ("two", "second"), current="two")
    third = kubeconfig(tmp_path / "c", ("three", "third"), current="three")
    paths = f"{first}:{tmp_path}/missing:{second}:{third}"
    assert connect(paths, None, None).namespace == "second"
    assert connect(paths, "one", None).namespace == "from-first"


def test_a_kubeconfig_that_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kubeconfig(tmp_path / "a", ("one", None))
    for context, code, told in ((None, 2, "has no current context"), ("two", 2, "no context 'two'; there are: one")):
        with pytest.raises(CliError, match=told) as error:
            connect(file, context, None)
        assert error.value.code == code
    (tmp_path / "broken").write_text("a: [")
    (tmp_path / "list").write_text("[1, 2]")
    (tmp_path / "nameless").write_text("contexts: [{context: {}}]")
    for path in ("broken", "missing", "list", "nameless"):
        with pytest.raises(CliError) as error:
            connect(str(tmp_path / path), None, None)
        assert error.value.code == Exit.UNREACHABLE
        assert "\n" not in str(error.value)


def test_no_answer_is_one_sentence_and_5(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file = kubeconfig(
            tmp_path / "a", ("one", None), current="one", server=f"https://127.0.0.1:{unused.getsockname()[1]}"
        )
        done = dataops("list", "--kubeconfig", file)
    assert done.exit_code == Exit.UNREACHABLE
    assert done.stderr.startswith("dataops: the API server does not answer: ")
    assert done.stderr.count("\n") == 1


# What the API server says.


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, b'{"message": "pipelineruns \\"r\\" not found"}', "there is no run r in namespace shop"),
        (404, b"404 page not found\n", "the cluster does not know this kind"),
        (
            404,
            b'{"message": "the server could not find the requested resource"}',
            "the cluster does not know this kind",
        ),
        (403, b'{"message": "runs is forbidden: User \\"x\\" cannot"}', "you may not do that: runs is forbidden: User"),
        (401, b"{}", "the API server does not know you"),
        (
            422,
            b'{"message": "spec.pipeline: no"}',
            "run r in namespace shop: the API server refuses it: spec.pipeline: no",
        ),
        (503, b"<html>\n<b>busy</b>", "refuses it: <html> <b>busy</b>"),
    ],
)
def test_a_refusal_is_one_sentence(status: int, body: bytes, told: str) -> None:
    error = refused(status, "reason", body, "run r in namespace shop")
    assert told in str(error)
    assert "\n" not in str(error)
    assert error.code == Exit.REFUSED
