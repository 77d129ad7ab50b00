"""A result beyond 4 KiB, handed in from a real pod with the token and the certificate that its node mounted."""

from __future__ import annotations

from tests.e2e.room import Room, begins, python, row

HAND_IN = """
import json, os, ssl, time, urllib.error, urllib.request
files = [f"landing/{index:02}/" + "x" * 400 for index in range(20)]
body = json.dumps({"outputs": {"files": files, "count": len(files)}}).encode()
context = ssl.create_default_context(cafile="/dataops/results/ca.crt")
for _ in range(60):
    with open("/dataops/results/token") as file:
        headers = {"Authorization": f"Bearer {file.read()}"}
    request = urllib.request.Request(os.environ["DATAOPS_RESULTS_URL"], body, headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            print(answer.status, answer.read().decode())
            break
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode())
        if error.code not in (429, 503):
            raise
        time.sleep(1)
else:
    raise SystemExit("it was never taken")
"""
LOOK = """
import json
with open("/dataops/item") as file:
    item = json.load(file)
with open("/dataops/result", "w") as file:
    json.dump({"outputs": {"name": item[:10]}}, file)
"""


def begin(room: Room) -> None:
    outputs = [{"name": "files", "type": "Array"}, {"name": "count", "type": "Integer"}]
    listing = python("list", HAND_IN, outputs=outputs, results="Endpoint")
    each = {"items": "$(steps.list.outputs.files)", "mode": "Indexed", "parallelism": 5}
    room.start(listing, python("look", LOOK, forEach=each, outputs=[{"name": "name"}]))


@begins(begin)
def test_a_long_list_reaches_the_items_of_a_later_step(room: Room) -> None:
    run = room.succeeded()
    found = row(run, "list")
    assert found["outputs"] == {"count": 20}
    assert found["result"]
    assert row(run, "look")["outputs"] == {"name": [f"landing/{index:02}" for index in range(20)]}
