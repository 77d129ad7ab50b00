"""The client on a socket: what it asks, and how it reads what comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from dataops_operator.cli.cluster import PODS, RUNS, TABLE, Cluster
from dataops_operator.cli.errors import CliError, Exit
from dataops_operator.cli.kubeconfig import connect

Answer = tuple[int, list[bytes]]


class Server(ThreadingHTTPServer):
    """Answers in chunks, one after another; keeps what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked: dict[str, Any] = {"method": self.command, "path": url.path, "query": dict(parse_qsl(url.query))}
        asked |= {"headers": dict(self.headers), "body": json.loads(body) if body else None}
        self.server.asked.append(asked)
        status, chunks = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as it:
        threading.Thread(target=it.serve_forever, daemon=True).start()
        yield it
        it.shutdown()


@pytest.fixture
def cluster(server: Server, tmp_path: Path) -> Cluster:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "the-token"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    return connect(str(tmp_path / "config"), None, "shop")


def told(value: Any, status: int = 200) -> Answer:
    return status, [json.dumps(value).encode()]


def test_a_list_is_asked_for_page_by_page_with_its_filters_and_the_users_token(
    server: Server, cluster: Cluster
) -> None:
    server.answers = [
        told({"metadata": {"continue": "more"}, "items": [{"a": 1}]}),
        told({"metadata": {}, "items": [{"a": 2}]}),
    ]
    assert cluster.list(RUNS, "shop", labels="a=b", fields="status.phase=Failed") == [{"a": 1}, {"a": 2}]
    first, second = server.asked
    assert first["path"] == "/apis/dataops.dev/v1alpha1/namespaces/shop/pipelineruns"
    assert first["headers"]["authorization"] == "Bearer the-token"
    query = {"limit": "500", "labelSelector": "a=b", "fieldSelector": "status.phase=Failed"}
    assert first["query"] == query
    assert second["query"] == query | {"continue": "more"}


def test_a_table_is_asked_for_by_its_media_type(server: Server, cluster: Cluster) -> None:
    server.answers = [told({"metadata": {}, "rows": []})]
    list(cluster.pages(RUNS, None, table=True))
    assert server.asked[0]["headers"]["Accept"] == TABLE
    assert server.asked[0]["path"] == "/apis/dataops.dev/v1alpha1/pipelineruns"


def test_a_change_is_a_merge_patch_and_a_new_object_is_json(server: Server, cluster: Cluster) -> None:
    server.answers = [told({"patched": True}), told({"made": True}, 201)]
    assert cluster.patch(RUNS, "shop", "r", {"spec": {"suspend": False}}) == {"patched": True}
    assert cluster.create(RUNS, "shop", {"metadata": {"name": "r"}}) == {"made": True}
    patch, create = server.asked
    assert (patch["method"], patch["path"].rpartition("/")[2], patch["body"]) == (
        "PATCH",
        "r",
        {"spec": {"suspend": False}},
    )
    assert patch["headers"]["Content-Type"] == "application/merge-patch+json"
    assert (create["method"], create["body"]) == ("POST", {"metadata": {"name": "r"}})


def test_a_watch_gives_events_however_their_lines_are_cut(server: Server, cluster: Cluster) -> None:
    event = json.dumps({"type": "MODIFIED", "object": {"x": "y" * 5000}}).encode() + b"\n"
    gone = json.dumps({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).encode() + b"\n"
    server.answers = [(200, [event[:10], event[10:] + event[:20], event[20:] + gone])]
    seen = list[Any]()
    with pytest.raises(CliError) as ended:
        seen.extend(cluster.watch(RUNS, "shop", "r", "7", 300))
    assert ended.value.status == 410
    assert server.asked[0]["query"] == {
        "watch": "true",
        "fieldSelector": "metadata.name=r",
        "resourceVersion": "7",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
    }


def test_a_log_comes_line_by_line_and_its_last_line_needs_no_end(server: Server, cluster: Cluster) -> None:
    server.answers = [(200, [b"one\ntw", b"o\nthree"])]
    assert list(cluster.log("shop", "pod", "step", follow=True)) == [b"one\n", b"two\n", b"three"]
    assert server.asked[0]["path"] == PODS.path("shop", "pod", "log") == "/api/v1/namespaces/shop/pods/pod/log"
    assert server.asked[0]["query"] == {"container": "step", "follow": "true"}


def test_what_is_not_there_is_found_to_be_so_unless_the_kind_is_missing(server: Server, cluster: Cluster) -> None:
    server.answers = [told({"message": 'pipelineruns "r" not found'}, 404), (404, [b"404 page not found\n"])]
    assert cluster.find(RUNS, "shop", "r") is None
    with pytest.raises(CliError, match="does not know this kind"):
        cluster.find(RUNS, "shop", "r")


def test_names_with_strange_letters_stay_names(server: Server, cluster: Cluster) -> None:
    server.answers = [told({"message": "not found"}, 404)]
    with pytest.raises(CliError, match=r"there is no run \.\./x\?y in namespace shop"):
        cluster.get(RUNS, "shop", "../x?y")
    assert server.asked[0]["path"].endswith("/pipelineruns/..%2Fx%3Fy")


def test_an_answer_that_is_cut_off_is_no_answer(server: Server, cluster: Cluster) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(CliError) as error:
        cluster.list(RUNS, "shop")
    assert error.value.code is Exit.UNREACHABLE
