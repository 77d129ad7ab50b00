"""What a server may answer, and what must never come of it: its words, another address, another certificate.

A real Vault does not say these things when asked to; a server that says them stands in for one here.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataops_operator.api.secret import VaultSource
from dataops_operator.vault.client import BODY_LIMIT, Client
from dataops_operator.vault.errors import (
    Forbidden,
    Gone,
    Invalid,
    LoginFailed,
    NotFound,
    TooLarge,
    Unavailable,
    VaultError,
)
from dataops_operator.vault.reader import fetch
from dataops_operator.vault.servers import Server

CANARY = "canary-a91f"
TOKEN = "token-of-the-run-5c2e"
JWT = "jwt-of-the-run-77d0"
KV = VaultSource(path="secret/data/x")
PKI = VaultSource.model_validate({"path": "pki/issue/x", "data": [{"name": "a"}]})
SEALED = VaultSource.model_validate({"transit": {"key": "k", "ciphertext": "vault:v1:x"}})


class Stub(ThreadingHTTPServer):
    """Answers every request the same way, and keeps what was asked."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str] | None = None, delay: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.headers, self.delay = status, body, headers or {}, delay
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody who does not wait for the end of an answer is what some cases are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/v1/"):  # a probe of who had this port before is none of ours
            self.server.asked.append((self.command, self.path, dict(self.headers), body))
        time.sleep(self.server.delay)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def answering(status: int, body: Any, headers: dict[str, str] | None = None, delay: float = 0) -> Iterator[Stub]:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    stub = Stub(status, raw, headers or {"Content-Type": "application/json"}, delay)
    thread = threading.Thread(target=stub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        stub.shutdown()
        stub.server_close()


def client(stub: Stub, **more: Any) -> Client:
    return Client(Server("default", stub.address, **more))


def everything_about(error: BaseException) -> str:
    """All that a log could show of an error, and of what it came from."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    inside = [f"{one!r} {one!s} {one.args} {vars(one)}" for one in chain]
    return "\n".join([*inside, *traceback.format_exception(error)])


CALLS: dict[str, Callable[[Client], object]] = {
    "login": lambda it: it.login("team", JWT),
    "read": lambda it: fetch(it, TOKEN, KV),
    "write": lambda it: fetch(it, TOKEN, PKI),
    "decrypt": lambda it: fetch(it, TOKEN, SEALED),
    "renew": lambda it: it.renew_accessor("a", 60, TOKEN),
    "renew lease": lambda it: it.renew_lease("l", 60, TOKEN),
    "revoke": lambda it: it.revoke_accessor("a", TOKEN),
    "revoke lease": lambda it: it.revoke_lease("l", TOKEN),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 307, 400, 403, 404, 405, 412, 429, 472, 473, 500, 502, 503, 504])
def test_the_words_of_a_refusal_are_never_passed_on(call: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"errors": [f"1 error: value {CANARY} is wrong"], "data": {"x": CANARY}}
    with (
        answering(status, body, {"Content-Type": "application/json", "Location": f"/v1/{CANARY}"}) as stub,
        pytest.raises(VaultError) as caught,
    ):
        CALLS[call](client(stub))
    told = everything_about(caught.value) + caplog.text
    for word in (CANARY, TOKEN, JWT):
        assert word not in told
    assert str(status) in str(caught.value)
    assert len(stub.asked) == 1, "a redirect was followed, or a request was repeated"


@pytest.mark.parametrize(
    ("status", "kind", "final"),
    [
        (400, Invalid, True),
        (403, Forbidden, True),
        (404, NotFound, True),
        (405, Invalid, True),
        (307, Unavailable, False),
        (412, Unavailable, False),
        (429, Unavailable, False),
        (472, Unavailable, False),
        (473, Unavailable, False),
        (500, Unavailable, False),
        (502, Unavailable, False),
        (503, Unavailable, False),
    ],
)
def test_a_status_says_whether_trying_again_can_help(status: int, kind: type[VaultError], final: bool) -> None:
    with answering(status, {"errors": []}) as stub, pytest.raises(kind) as caught:
        fetch(client(stub), TOKEN, KV)
    assert (caught.value.code, caught.value.final) == (status, final)


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("text", ["invalid accessor", "lease not found", "invalid lease"])
def test_what_has_ended_is_told_from_what_is_wrong(status: int, text: str) -> None:
    with answering(status, {"errors": [text]}) as stub, pytest.raises(Gone):
        client(stub).renew_accessor("a", 60, TOKEN)


@pytest.mark.parametrize("body", [b"<html>canary-a91f</html>", b"[1]", b'"canary-a91f"', b"\xff\xfe", b"{"])
def test_something_else_at_the_address_is_not_vault(body: bytes) -> None:
    with answering(200, body) as stub, pytest.raises(Invalid, match="is not Vault") as caught:
        fetch(client(stub), TOKEN, KV)
    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": [CANARY]}, {"auth": {"client_token": CANARY}}])
def test_an_answer_without_data_is_no_secret(body: Any) -> None:
    with answering(200, body) as stub, pytest.raises(NotFound, match="answered without data") as caught:
        fetch(client(stub), TOKEN, KV)
    assert CANARY not in everything_about(caught.value)


@pytest.mark.parametrize(
    "auth", [None, {}, {"client_token": ""}, {"accessor": "a"}, {"client_token": CANARY, "accessor": ""}]
)
def test_a_login_without_token_or_accessor_is_refused(auth: Any) -> None:
    with answering(200, {"auth": auth}) as stub, pytest.raises(LoginFailed) as caught:
        client(stub).login("team", "jwt")
    assert CANARY not in everything_about(caught.value)


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with answering(200, b"x" * (BODY_LIMIT + 1)) as stub, pytest.raises(TooLarge):
        fetch(client(stub), TOKEN, KV)


def test_a_slow_answer_is_given_up() -> None:
    began = time.monotonic()
    with answering(200, {}, delay=3) as stub, pytest.raises(Unavailable, match="did not answer within 1 s"):
        fetch(client(stub, timeout=1.0), TOKEN, KV)
    assert time.monotonic() - began < 10


def test_nobody_at_the_address_is_unavailable() -> None:
    with answering(200, {}) as stub:
        gone = client(stub)
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        gone.login("team", JWT)
    assert JWT not in everything_about(caught.value)


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with answering(200, {"data": {"a": "b"}}) as elsewhere, answering(200, {"data": {"a": "b"}}) as stub:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".vault-token").write_text("token-of-a-file")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
        (tmp_path / ".netrc").chmod(0o600)
        for name in ("VAULT_ADDR", "http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("VAULT_TOKEN", "token-of-the-environment")
        it = client(stub)
        fetch(it, TOKEN, KV)
        with pytest.raises(VaultError):
            it.login("team", "jwt")
    assert elsewhere.asked == []
    (read, login) = stub.asked
    assert read[2]["X-Vault-Token"] == TOKEN
    assert "X-Vault-Token" not in login[2]
    assert not any("Authorization" in one[2] or "Cookie" in one[2] for one in stub.asked)


def test_not_even_a_path_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(200, {"data": {"a": "b"}}) as stub:
        fetch(client(stub), TOKEN, KV)
    assert "secret/data" not in caplog.text, "it may have a masked parameter in it"


def test_cookies_are_not_kept() -> None:
    headers = {"Content-Type": "application/json", "Set-Cookie": "who=me"}
    with answering(200, {"data": {"a": "b"}}, headers) as stub:
        it = client(stub)
        for _ in range(2):
            fetch(it, TOKEN, KV)
    assert all("Cookie" not in one[2] for one in stub.asked)


def test_requests_are_what_vault_takes() -> None:
    with answering(200, {"data": {"a": "b"}, "auth": {"lease_duration": 60}, "lease_duration": 70}) as stub:
        it = client(stub, namespace="team", mount="k8s/eu")
        assert it.renew_accessor("acc", 59.6, TOKEN) == 60
        assert it.renew_lease("id", 59.6, TOKEN) == 70
        it.revoke_lease("id", TOKEN)
        fetch(it, TOKEN, VaultSource(path="a/b@c+d=e~f(g)", version=None))
        with pytest.raises(LoginFailed):
            it.login("team", "jwt")
    got = [(method, path, orjson.loads(body) if body else None) for method, path, _, body in stub.asked]
    assert got == [
        ("POST", "/v1/auth/token/renew-accessor", {"accessor": "acc", "increment": "60s"}),
        ("PUT", "/v1/sys/leases/renew", {"lease_id": "id", "increment": 60}),
        ("PUT", "/v1/sys/leases/revoke", {"lease_id": "id", "sync": True}),
        ("GET", "/v1/a/b@c+d=e~f(g)", None),
        ("POST", "/v1/auth/k8s/eu/login", {"role": "team", "jwt": "jwt"}),
    ]
    assert all(one[2]["X-Vault-Namespace"] == "team" for one in stub.asked)


def test_each_request_is_counted_with_its_outcome() -> None:
    told: list[tuple[str, str, int]] = []

    def observe(server: str, operation: str, code: int, seconds: float) -> None:
        assert 0 <= seconds < 60
        told.append((server, operation, code))

    with answering(503, {}) as stub:
        it = Client(Server("default", stub.address), observe)
        for call in CALLS.values():
            with pytest.raises(VaultError):
                call(it)
    with pytest.raises(VaultError):
        Client(Server("default", stub.address), observe).login("team", JWT)
    operations = ["login", "read", "write", "decrypt", "renew", "renew", "revoke", "revoke"]
    assert told == [*(("default", one, 503) for one in operations), ("default", "login", 0)]
