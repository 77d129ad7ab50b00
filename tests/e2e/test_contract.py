"""The step contract, seen from inside real containers."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.room import Room, begins, python, row, shell

TRICKY = """It's $(date) and `date`, $$ and $$(params.tricky), $(params.tricky) "quoted" \\ back\\n
second line\ttab ; rm -rf / # & | > 日本 ü 🛫 $HOME ${HOME} %s {{x}}"""

LOOK = """
import json, os, sys

def write(path):
    try:
        with open(path, "w") as file:
            file.write("x")
        return "written"
    except OSError as error:
        return error.strerror

status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
with open("/dataops/params.json") as file:
    params = file.read()
seen = {
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "params": params,
    "ids": [os.getuid(), os.getgid()],
    "status": {key: status.get(key) for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")},
    "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
    "written": {path: write(path) for path in ("/x", "/usr/x", "/dataops/x", "/tmp/x", "/dataops/workspace/x")},
}
print(json.dumps(seen))
"""


def looking(*arguments: str, **fields: Any) -> dict[str, Any]:
    """A step that prints what it sees."""
    return {
        "name": "look",
        "command": ["python3", "-c", LOOK],
        **({"args": list(arguments)} if arguments else {}),
    } | fields


def seen(room: Room) -> dict[str, Any]:
    """What the step saw."""
    room.succeeded()
    found: dict[str, Any] = json.loads(room.log("look"))
    return found


@begins(lambda room: room.start(looking(), workspace={"size": "10Mi"}))
def test_a_step_has_no_rights_at_all_and_writes_only_to_tmp_and_the_workspace(room: Room) -> None:
    found = seen(room)
    assert found["ids"] == [65532, 65532]
    nothing = "0" * 16
    assert found["status"] == {
        "CapPrm": nothing, "CapEff": nothing, "CapBnd": nothing, "CapAmb": nothing, "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip
    assert not found["token"], "a service account token is in the container"
    refused = "Read-only file system"
    assert found["written"] == {
        "/x": refused,
        "/usr/x": refused,
        "/dataops/x": refused,
        "/tmp/x": "written",
        "/dataops/workspace/x": "written",
    }


def begin_identity(room: Room) -> None:
    room.define("daily", [looking()])
    room.launch("daily", "x", logicalDate="2013-02-09T06:00:00+01:00")


@begins(begin_identity)
def test_a_step_is_told_who_it_is(room: Room) -> None:
    run = room.succeeded()
    environment = seen(room)["environment"]
    uid = run["metadata"]["uid"]
    told = {name: value for name, value in environment.items() if name.startswith("DATAOPS_")}
    assert told == {
        "DATAOPS_RUN": "x",
        "DATAOPS_RUN_UID": uid,
        "DATAOPS_PIPELINE": "daily",
        "DATAOPS_ENVIRONMENT": room.namespace,
        "DATAOPS_STEP": "look",
        "DATAOPS_ATTEMPT": "1",
        "DATAOPS_IDEMPOTENCY_KEY": f"{uid}/look",
        "DATAOPS_LOGICAL_DATE": "2013-02-09T06:00:00+01:00",  # as written: its day depends on its offset
    }
    assert environment["TRACEPARENT"].split("-")[1] == uid.replace("-", "")
    assert environment["OPENLINEAGE_PARENT_ID"].startswith(f"{room.namespace}/daily.look/")


TYPED = [
    {"name": "text", "type": "String", "default": "plain"},
    {"name": "count", "type": "Integer", "default": 3},
    {"name": "share", "type": "Number", "default": "0.25"},
    {"name": "full", "type": "Boolean", "default": False},
    {"name": "day", "type": "Date", "default": "$(run.logicalDate)"},
    {"name": "sizes", "type": "Array", "default": [1]},
    {"name": "where", "type": "Object"},
]


def begin_types(room: Room) -> None:
    one = looking("$(params.sizes)", "--where=$(params.where)", "n=$(params.count)", "$(params.where.deep.1)")
    room.define("typed", [one], parameters=TYPED)
    values = {"count": "7", "full": "true", "sizes": [30, 10, 20], "where": {"b": 1, "deep": ["p", "q"], "ü": None}}
    room.launch("typed", "x", values, logicalDate="2013-02-09T00:00:00Z")


@begins(begin_types)
def test_parameters_of_every_type_arrive_in_environment_arguments_and_file(room: Room) -> None:
    found = seen(room)
    where = {"b": 1, "deep": ["p", "q"], "ü": None}
    compact = json.dumps(where, separators=(",", ":"), ensure_ascii=False)
    assert json.loads(found["params"]) == {
        "text": "plain", "count": 7, "share": 0.25, "full": True, "day": "2013-02-09", "sizes": [30, 10, 20],
        "where": where,
    }  # fmt: skip
    prefix = "DATAOPS_PARAM_"
    told = {name.removeprefix(prefix): text for name, text in found["environment"].items() if name.startswith(prefix)}
    assert told == {
        "TEXT": "plain", "COUNT": "7", "SHARE": "0.25", "FULL": "true", "DAY": "2013-02-09", "SIZES": "[30,10,20]",
        "WHERE": compact,
    }  # fmt: skip
    assert found["arguments"] == ["[30,10,20]", f"--where={compact}", "n=7", "q"]


def begin_tricky(room: Room) -> None:
    one = looking(
        "$(params.tricky)", "<$(params.tricky)>", "$(date)", "$((x+1))", "$$(params.tricky)", "$(DATAOPS_STEP)",
        env=[{"name": "TRICKY", "value": "$(params.tricky)"}, {"name": "LITERAL", "value": "$$(params.tricky)"}],
    )  # fmt: skip
    again = python("script", 'import os\nprint(os.environ["DATAOPS_PARAM_TRICKY"], end="")')
    room.define("tricky", [one, again], parameters=[{"name": "tricky"}])
    room.launch("tricky", "x", {"tricky": TRICKY})


@begins(begin_tricky)
def test_a_value_with_the_signs_of_shells_and_templates_arrives_byte_for_byte(room: Room) -> None:
    found = seen(room)
    assert json.loads(found["params"]) == {"tricky": TRICKY}
    assert found["environment"]["DATAOPS_PARAM_TRICKY"] == TRICKY
    assert found["environment"]["TRICKY"] == TRICKY
    assert found["environment"]["LITERAL"] == "$(params.tricky)"
    assert found["arguments"] == [TRICKY, f"<{TRICKY}>", "$(date)", "$((x+1))", "$(params.tricky)", "look"]
    assert room.log("script") == TRICKY


def begin_scripts(room: Room) -> None:
    room.start(
        python("snake", "import sys\nprint('python', sys.version_info.major, '$(params.x)', __file__)"),
        shell("plain", 'set -eu\nn=41\necho "sh $((n + 1)) $(echo inner) $0"\necho "${MESSAGE}"',
              env=[{"name": "MESSAGE", "value": "run $(run.name)"}]),
    )  # fmt: skip


@begins(begin_scripts)
def test_a_script_is_run_by_its_own_interpreter_or_by_sh_and_takes_no_templates(room: Room) -> None:
    room.succeeded()
    assert room.log("snake") == "python 3 $(params.x) /dataops/script\n"
    assert room.log("plain") == "sh 42 inner /dataops/script\nrun x\n"


RESULT = """
import json
outputs = {"text": "a $(date) b", "count": 12, "share": 0.5, "done": True, "day": "2013-02-09",
           "names": ["x", "y"], "more": {"k": [1, None]}}
with open("/dataops/result", "w") as file:
    json.dump({"outputs": outputs, "message": "twelve in all"}, file)
"""
OUTPUTS = {
    "text": ("String", "a $(date) b"),
    "count": ("Integer", 12),
    "share": ("Number", 0.5),
    "done": ("Boolean", True),
    "day": ("Date", "2013-02-09"),
    "names": ("Array", ["x", "y"]),
    "more": ("Object", {"k": [1, None]}),
}


def begin_outputs(room: Room) -> None:
    declared = [{"name": name, "type": type_} for name, (type_, _) in OUTPUTS.items()]
    room.start(
        python("make", RESULT, outputs=declared), looking(*(f"$(steps.make.outputs.{name})" for name in OUTPUTS))
    )


@begins(begin_outputs)
def test_outputs_reach_the_next_step_and_keep_their_types(room: Room) -> None:
    run = room.succeeded()
    made = row(run, "make")
    assert made["outputs"] == {name: value for name, (_, value) in OUTPUTS.items()}
    assert made["message"] == "twelve in all"
    assert [image.count("sha256:") for image in run["status"]["images"]] == [1]
    assert seen(room)["arguments"] == [
        "a $(date) b", "12", "0.5", "true", "2013-02-09", '["x","y"]', '{"k":[1,null]}',
    ]  # fmt: skip
    assert room.jobs() == [("make", 1), ("look", 1)], "look uses what make writes, so it waits without saying"


FLAKY = """
echo "attempt $DATAOPS_ATTEMPT of $DATAOPS_IDEMPOTENCY_KEY"
test "$DATAOPS_ATTEMPT" -ge 3 || { echo '{"message": "not yet"}' > /dataops/result; exit 7; }
"""


def begin_retry(room: Room) -> None:
    room.start(shell("flaky", FLAKY, retry={"limit": 2, "backoff": {"initial": "1s"}}))


@begins(begin_retry)
def test_a_step_that_fails_twice_is_tried_again_with_the_same_idempotency_key(room: Room) -> None:
    run = room.succeeded()
    uid = run["metadata"]["uid"]
    assert row(run, "flaky")["attempt"] == 3
    assert room.jobs() == [("flaky", 1), ("flaky", 2), ("flaky", 3)]
    for attempt in (1, 2, 3):
        assert room.log("flaky", attempt=attempt) == f"attempt {attempt} of {uid}/flaky\n"
    retries = [message for type_, reason, message in room.events() if (type_, reason) == ("Warning", "StepRetrying")]
    assert len(retries) == 2
    assert all("exit code 7: not yet" in message for message in retries)
