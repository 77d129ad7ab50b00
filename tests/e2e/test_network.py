"""What a step reaches: the cluster's own names and services, and nothing outside."""

from __future__ import annotations

import json

from tests.e2e.room import Room, begins, python

REACH = """
import json, socket, ssl, urllib.error, urllib.request

def connect(address, port):
    try:
        socket.create_connection((address, port), timeout=3).close()
        return "connected"
    except OSError as error:
        return type(error).__name__

def resolve(name):
    try:
        return socket.getaddrinfo(name, 443, socket.AF_INET)[0][4][0]
    except socket.gaierror:
        return "unknown"

def server():
    trust_all = ssl._create_unverified_context()
    try:
        urllib.request.urlopen("https://kubernetes.default.svc.cluster.local/version", context=trust_all, timeout=10)
        return 200
    except urllib.error.HTTPError as error:
        return error.code

print(json.dumps({
    "outside": connect("192.0.2.1", 80),
    "cluster name": resolve("kubernetes.default.svc.cluster.local"),
    "short name": resolve("kubernetes.default"),
    "foreign name": resolve("example.invalid"),
    "api server": server(),
}))
"""


@begins(lambda room: room.start(python("only", REACH)))
def test_a_step_resolves_and_reaches_the_cluster_and_nothing_outside(room: Room) -> None:
    room.succeeded()
    found = json.loads(room.log("only"))
    service = room.site.read("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    assert found["cluster name"] == service
    assert found["short name"] == service
    assert found["foreign name"] == "unknown"
    assert found["api server"] in (200, 401, 403), "the API server answers by its service's address"
    assert found["outside"] != "connected"
