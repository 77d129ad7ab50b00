"""The command line on a real node: what steps wrote, and that no secret is in it."""

from __future__ import annotations

import subprocess

from tests.e2e.platform import Platform
from tests.e2e.room import Room, begins, python, shell
from tests.harness.canary import canary, needles
from tests.harness.operator import ROOT

CANARY = canary("cli")
TELLS = """
import base64, json, pathlib, time, urllib.parse
value = pathlib.Path("/dataops/secrets/api/token").read_text()
print("begin")
for one in (value, json.dumps(value), base64.b64encode(value.encode()).decode(), urllib.parse.quote(value, safe="")):
    print("told", one, flush=True)
time.sleep(12)
print("end")
"""


def dataops(room: Room, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the test's namespace."""
    return subprocess.run(
        [ROOT / "tools" / "bin" / "dataops", *words, "-n", room.namespace],
        env=room.site.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def begin_secret(room: Room) -> None:
    Platform(room.site).put(f"{room.namespace}/api", token=CANARY)
    Platform(room.site).admit(room.namespace, [room.namespace], f"secret/data/{room.namespace}/*")
    room.environment(vault={"role": room.namespace})
    source = {"name": "api", "vault": {"path": f"secret/data/{room.namespace}/api"}}
    room.define("x", [python("tell", TELLS, secrets=[{"name": "api"}])], secrets=[source])


@begins(begin_secret)
def test_logs_that_are_followed_show_a_runs_secrets_as_stars(room: Room) -> None:
    room.launch("x")
    room.until("x", lambda run: bool(run.get("status", {}).get("steps")))
    done = dataops(room, "logs", "x", "tell", "--follow")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["begin", *["told"] * 4, "end"]
    assert "told ***" in done.stdout
    for encoding, needle in needles(CANARY):
        assert needle.decode() not in done.stdout, encoding
    assert done.stderr == ""
    room.succeeded()
    later = dataops(room, "logs", "x", "tell")
    assert "values of secrets are not masked: the run's Secret is gone" in later.stderr


TWICE = {"retry": {"limit": 1, "backoff": {"initial": "1s"}}}


@begins(
    lambda room: room.start(
        shell("land", "echo attempt $DATAOPS_ATTEMPT; [ $DATAOPS_ATTEMPT = 2 ]", **TWICE),
        shell("audit", "echo audited; echo whole", needs=["land"]),
    )
)
def test_logs_of_every_attempt_can_be_read(room: Room) -> None:
    watched = dataops(room, "watch", "x")
    assert watched.returncode == 0, watched.stderr
    assert "step land  Succeeded  attempt 2" in watched.stdout
    assert dataops(room, "logs", "x").stdout.splitlines() == [
        "land#2 | attempt 2", "audit | audited", "audit | whole",
    ]  # fmt: skip
    assert dataops(room, "logs", "x", "land").stdout == "attempt 2\n"
    assert dataops(room, "logs", "x", "land", "--previous").stdout == "attempt 1\n"
    assert dataops(room, "logs", "x", "land", "--attempt", "1").stdout == "attempt 1\n"
    assert dataops(room, "logs", "x", "audit", "--previous").returncode == 3
