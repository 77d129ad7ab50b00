"""Start a throw-away OpenBao server in a pod, and set it up.

    start.py [--secret VARIABLE=NAMESPACE/SECRET/KEY ...] [--config FILE] [--setup SCRIPT]

The server keeps everything in memory, so a container that starts again begins with nothing; the set-up makes it what
it was. Only the standard library: there is nothing else in the image.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ROOT_TOKEN = "BAO_DEV_ROOT_TOKEN_ID"  # noqa: S105 - the name of the variable
READY = Path("/tmp/ready")  # noqa: S108 - the pod's own
PATIENCE = 60.0
"""Seconds for the API server to be reached, and for the server to answer."""
SAID_ONLY_TO_US = {"Unseal Key:": "unseal-key", "Root Token:": ""}
"""Lines of the server that are kept out of the log, and the key of the Secret that takes what they say."""


@dataclass(frozen=True)
class Place:
    """One key of a Secret, and the variable that has its value here."""

    variable: str
    namespace: str
    name: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `VARIABLE=NAMESPACE/SECRET/KEY`."""
        variable, _, path = text.partition("=")
        namespace, name, key = path.split("/")
        return cls(variable, namespace, name, key)


class Secrets:
    """Secrets of the cluster, as the pod's own ServiceAccount may touch them."""

    def __init__(self) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        self._server = f"https://{host}:{port}"
        self._trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))

    def ensure(self, place: Place) -> str:
        """The value that is there, or a new random one, which then is; whoever else makes it meanwhile is right."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._read(place) or self._create(place)
            except urllib.error.HTTPError as error:
                # 403 and 404: the namespace or the binding is applied a moment later than the pod.
                if error.code not in (403, 404, 409) or time.monotonic() > deadline:
                    raise
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.5)

    def put(self, place: Place, key: str, value: str) -> None:
        """Set another key of a Secret that is there."""
        path = f"/api/v1/namespaces/{place.namespace}/secrets/{place.name}"
        self._call("PATCH", path, {"stringData": {key: value}})

    def _read(self, place: Place) -> str:
        try:
            found = self._call("GET", f"/api/v1/namespaces/{place.namespace}/secrets/{place.name}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return ""
            raise
        return base64.b64decode(found["data"][place.key]).decode()

    def _create(self, place: Place) -> str:
        value = secrets.token_urlsafe(24)
        labels = {"app.kubernetes.io/part-of": "dataops-platform"}
        body = {"metadata": {"name": place.name, "labels": labels}, "stringData": {place.key: value}}
        self._call("POST", f"/api/v1/namespaces/{place.namespace}/secrets", body)
        return value

    def _call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        kind = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data, headers, method=verb)  # noqa: S310 - https
        with urllib.request.urlopen(request, timeout=10, context=self._trust) as answer:  # noqa: S310 - https
            return json.load(answer)


def relay(lines: IO[str], told: dict[str, str]) -> None:
    """Pass on what the server says, save its keys."""
    for line in lines:
        word = next((word for word in SAID_ONLY_TO_US if line.startswith(word)), None)
        if word is None:
            print(line, end="", flush=True)
        else:
            told[SAID_ONLY_TO_US[word]] = line.removeprefix(word).strip()


def wait_until_it_answers(server: subprocess.Popen[str]) -> None:
    """Wait for a server that is unsealed and active.

    Raises:
        SystemExit: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{os.environ['BAO_ADDR']}/v1/sys/health", timeout=2).close()  # noqa: S310 - http
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def main() -> int:
    """Start, set up, and wait for the server's end; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secret", type=Place.parse, action="append", default=[], metavar="VARIABLE=NS/SECRET/KEY")
    parser.add_argument("--config", help="the server's configuration, beside that of a dev server")
    parser.add_argument("--setup", help="a shell script, run once the server answers")
    options = parser.parse_args()
    READY.unlink(missing_ok=True)

    store = Secrets()
    places = {place.variable: place for place in options.secret}
    environment = os.environ | {variable: store.ensure(place) for variable, place in places.items()}
    told: dict[str, str] = {}
    command = ["bao", "server", "-dev", "-dev-listen-address=0.0.0.0:8200"]
    if options.config:
        command.append(f"-config={options.config}")
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.terminate())
    try:
        threading.Thread(target=relay, args=(server.stdout, told), daemon=True).start()
        wait_until_it_answers(server)
        if options.setup:
            token = {"BAO_TOKEN": environment.get(ROOT_TOKEN, "")}
            subprocess.run(["sh", "-eu", options.setup], env=environment | token, check=True)
        if ROOT_TOKEN in places and "unseal-key" in told:
            store.put(places[ROOT_TOKEN], "unseal-key", told["unseal-key"])
        READY.touch()
        return server.wait()
    finally:
        server.terminate()


if __name__ == "__main__":
    sys.exit(main())
