"""Prefixes of a real S3 server: reached, probed, made, copied, dropped, and every way in which that fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pytest
from tests.harness.ports import free_port
from tests.harness.s3 import S3Server as Server
from tests.integration.storage import OTHER_UID, Object, Site, branch, code, environment, vault

from dataops_operator.core.storagejob import Action, Code
from dataops_operator.core.targets import ResolvedTarget
from dataops_operator.storage.s3 import MARK, S3

SECRETS = {name: f"canary-{name}-secret" for name in ("loader", "reader", "brancher", "nobody")}
READS = [("s3:GetObject", "prod/*"), ("s3:ListBucket", "")]
WRITES = [("s3:PutObject", "*"), ("s3:DeleteObject", "*"), ("s3:GetObject", "*"), ("s3:ListBucket", "")]
BRANCHES = [
    (action, f"{prefix}*") for action in ("s3:PutObject", "s3:DeleteObject", "s3:GetObject") for prefix in ("prod__",)
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(SECRETS) as made:
        yield made


@pytest.fixture
def bucket(server: Server, request: pytest.FixtureRequest) -> str:
    """A bucket of the case's own, with a prefix `prod/` as a team has it."""
    name = f"b{abs(hash(request.node.name)) % 10**10}"
    server.bucket(name)
    server.allow(name, {"loader": WRITES, "reader": READS, "brancher": [*BRANCHES, ("s3:ListBucket", "")]})
    server.put(
        name, {"prod/day=1/a.parquet": b"one", "prod/b ä$(x).csv": b"two-", "prod/empty": b"", "production/x": b"9"}
    )
    return name


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    login(made, "loader")
    login(made, "reader", "lake-read")
    return made


def login(site: Site, account: str, name: str = "lake") -> None:
    site.login(name, access_key=account, secret_key=SECRETS[account])


def target(server: Server, bucket: str, **more: object) -> Object:
    place = {"endpoint": server.endpoint, "bucket": bucket, "prefix": "prod/"}
    logins = {
        "credentials": vault("loader"),
        "readCredentials": vault("reader"),
        "branchCredentials": vault("brancher"),
    }
    return {"name": "lake", "s3": place | logins | more}


def of_branch(server: Server, bucket: str, site: Site, mode: str) -> ResolvedTarget:
    """A branch's target; from here on its login is the one for branches."""
    login(site, "brancher")
    return branch(environment(target(server, bucket)), mode)


# Reaching and probing.


def test_a_prefix_is_reached_written_to_and_counted_and_nothing_is_left(
    server: Server, bucket: str, site: Site
) -> None:
    before = server.objects(bucket)
    report = site.run(Action.PROBE, *environment(target(server, bucket)).targets.values())["lake"]
    assert (report.code, report.used_bytes) == (Code.OK, 7), report
    assert server.objects(bucket) == before
    empty = environment(target(server, bucket, prefix="not/yet/"))
    assert site.run(Action.PROBE, *empty.targets.values())["lake"].used_bytes == 0


def test_a_whole_bucket_is_counted_like_a_prefix(server: Server, bucket: str, site: Site) -> None:
    whole = environment(target(server, bucket, prefix=""))
    assert site.run(Action.PROBE, *whole.targets.values())["lake"].used_bytes == 8


@pytest.mark.parametrize(
    ("change", "files", "expected", "says"),
    [
        ({}, {"secret_key": "wrong"}, Code.LOGIN_REFUSED, "refuses the login"),
        ({}, {"access_key": "stranger"}, Code.LOGIN_REFUSED, "refuses the login"),
        ({}, {"secret_key": ""}, Code.LOGIN_MISSING, "has no secret_key"),
        ({"bucket": "missing"}, {}, Code.NOT_FOUND, "there is no bucket 'missing'"),
        ({}, {"access_key": "nobody", "secret_key": SECRETS["nobody"]}, Code.FORBIDDEN, "it must list, read"),
        ({}, {"access_key": "reader", "secret_key": SECRETS["reader"]}, Code.FORBIDDEN, "put and delete"),
        ({"endpoint": "http://does-not.exist.invalid"}, {}, Code.UNREACHABLE, "no answer"),
        ({"endpoint": f"http://127.0.0.1:{free_port()}"}, {}, Code.UNREACHABLE, "no answer"),
        ({"credentials": None}, {}, Code.FORBIDDEN, "the login may not"),
    ],
)
def test_what_is_wrong_is_told_in_our_words_with_the_cure(
    server: Server, bucket: str, site: Site, change: Object, files: dict[str, str], expected: Code, says: str
) -> None:
    site.login("lake", **files)
    raw = target(server, bucket)
    raw["s3"] |= change
    began = time.monotonic()
    report = site.run(Action.PROBE, *environment(raw).targets.values())["lake"]
    assert report.code is expected, report
    assert says in report.message
    assert "canary" not in report.message
    assert time.monotonic() - began < 25


def test_a_server_that_says_nothing_is_given_up(server: Server, bucket: str, site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        raw = target(server, bucket, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        report = site.run(Action.PROBE, *environment(raw).targets.values())["lake"]
    assert report.code is Code.UNREACHABLE, report
    assert time.monotonic() - began < 40


def test_a_read_only_target_is_probed_without_a_write(server: Server, bucket: str, site: Site) -> None:
    login(site, "reader")
    raw = target(server, bucket) | {"access": "ReadOnly"}
    assert code(site.run(Action.PROBE, *environment(raw).targets.values()), "lake") == "Ok"


# Making and dropping.


def test_an_empty_prefix_is_made_once_carries_the_mark_and_goes_whole(server: Server, bucket: str, site: Site) -> None:
    own = of_branch(server, bucket, site, "Empty")
    before = server.objects(bucket)
    for _ in range(2):
        assert code(site.run(Action.PREPARE, own), "lake") == "Ok"
    assert server.objects(bucket).keys() - before.keys() == {f"prod__feature-x/{MARK}"}
    assert code(site.run(Action.PROBE, own), "lake") == "Ok"
    server.put(bucket, {"prod__feature-x/made/by/run": b"1", "prod__feature-xy/of-another": b"2"})
    assert [code(site.run(Action.DROP, own), "lake") for _ in range(2)] == ["Ok", "Gone"]
    assert server.objects(bucket) == before | {"prod__feature-xy/of-another": 1}


@pytest.mark.parametrize("mark", [None, b"no JSON", b"[]", b"{}", f'{{"environment": "{OTHER_UID}"}}'.encode()])
def test_a_prefix_without_our_mark_is_neither_taken_nor_dropped(
    server: Server, bucket: str, site: Site, mark: bytes | None
) -> None:
    own = of_branch(server, bucket, site, "Empty")
    server.put(bucket, {"prod__feature-x/precious": b"1"} | ({f"prod__feature-x/{MARK}": mark} if mark else {}))
    before = server.objects(bucket)
    for action in (Action.PREPARE, Action.DROP):
        assert code(site.run(action, own), "lake") == "NotOurs"
    assert server.objects(bucket) == before


def test_a_wrong_task_cannot_drop_a_place_that_was_there_before(server: Server, bucket: str, site: Site) -> None:
    assert code(site.run(Action.DROP, *environment(target(server, bucket)).targets.values()), "lake") == "NotOurs"
    assert "prod/empty" in server.objects(bucket)


# Copying.


def fill(server: Server, bucket: str, count: int) -> None:
    store = server.store(bucket)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: obstore.put(store, f"prod/part/{number:05}", b"x" * 10), range(count)))


def under(server: Server, bucket: str, prefix: str) -> dict[str, int]:
    return {key.removeprefix(prefix): size for key, size in server.objects(bucket, prefix).items() if MARK not in key}


@pytest.mark.parametrize("inside", [True, False], ids=["inside the server", "by way of the process"])
def test_a_copy_is_whole_and_goes_whole_with_2_000_objects(
    server: Server, bucket: str, site: Site, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch's login may not read the parent's objects, unless it is said that it may."""
    fill(server, bucket, 2000)
    if inside:
        server.allow(bucket, {"brancher": [*BRANCHES, *READS], "reader": READS})
    else:
        with pytest.raises(obstore.exceptions.PermissionDeniedError):
            obstore.copy(server.store(bucket, "brancher"), "prod/empty", "prod__feature-x/empty")
    own = of_branch(server, bucket, site, "Copy")
    report = site.run(Action.PREPARE, own)["lake"]
    assert report.code is Code.OK, report
    assert "2003 objects of 20007 bytes were copied" in report.message
    assert under(server, bucket, "prod__feature-x/") == under(server, bucket, "prod/")
    copied = obstore.get(server.store(bucket), "prod__feature-x/b ä$(x).csv").bytes()
    assert bytes(copied) == b"two-"

    monkeypatch.setattr("dataops_operator.storage.s3._Copier.copy", lambda *_: pytest.fail("copied again"))
    assert code(site.run(Action.PREPARE, own), "lake") == "Ok"
    assert code(site.run(Action.PROBE, own), "lake") == "Ok"
    assert code(site.run(Action.DROP, own), "lake") == "Ok"
    assert under(server, bucket, "prod__feature-x/") == {}
    assert len(under(server, bucket, "prod/")) == 2003


def test_a_copy_that_broke_off_goes_on_where_it_was(
    server: Server, bucket: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(server, bucket, 50)
    own = of_branch(server, bucket, site, "Copy")
    real = obstore.put
    written: list[str] = []

    def put(store: Any, key: str, *rest: Any, **more: Any) -> object:
        written.append(key)
        if broken and len(written) > 20:
            raise obstore.exceptions.GenericError("error sending request for url (canary)")
        return real(store, key, *rest, **more)

    monkeypatch.setattr(obstore, "put", put)
    broken = True
    report = site.run(Action.PREPARE, own)["lake"]
    assert report.code is Code.UNREACHABLE, report
    assert "canary" not in report.message
    had = len(under(server, bucket, "prod__feature-x/"))
    assert 0 < had < 53
    broken = False
    time.sleep(1.1)
    server.put(bucket, {"prod/part/00000": b"0123456789"})  # copied anew, though it is as long as before
    written.clear()
    assert code(site.run(Action.PREPARE, own), "lake") == "Ok"
    assert under(server, bucket, "prod__feature-x/") == under(server, bucket, "prod/")
    assert len(written) <= 53 - had + 2
    assert bytes(obstore.get(server.store(bucket), "prod__feature-x/part/00000").bytes()) == b"0123456789"


def test_what_is_removed_from_the_parent_in_mid_copy_is_told(
    server: Server, bucket: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = of_branch(server, bucket, site, "Copy")
    pages = S3._pages

    def stale(self: S3) -> Iterator[object]:
        for page in pages(self):
            if self.place.prefix == "prod/":
                obstore.delete(server.store(bucket), "prod/day=1/a.parquet")
            yield page

    monkeypatch.setattr(S3, "_pages", stale)
    assert "1 that were removed meanwhile left out" in site.run(Action.PREPARE, own)["lake"].message
    assert under(server, bucket, "prod__feature-x/") == under(server, bucket, "prod/")


def test_what_clients_call_folders_is_no_loss_of_a_copy_and_goes_with_the_prefix(
    server: Server, bucket: str, site: Site
) -> None:
    """Consoles and Hadoop write empty objects whose keys end in '/', which the client lists without it."""
    for key in ("prod/", "prod/day=1/", "prod/none/"):
        server.put_folder(bucket, key)
    own = of_branch(server, bucket, site, "Copy")
    report = site.run(Action.PREPARE, own)["lake"]
    assert report.message.startswith("3 objects of 7 bytes were copied"), report
    assert "left out" not in report.message
    for key in ("prod__feature-x/", "prod__feature-x/a/", "prod__feature-x/a/b ä/", "prod__feature-x/day=1/"):
        server.put_folder(bucket, key)
    before = {key: size for key, size in server.objects(bucket).items() if not key.startswith("prod__feature-x")}
    login(site, "brancher")
    report = site.run(Action.DROP, own)["lake"]
    assert report.code is Code.OK, report
    assert server.objects(bucket) == before


def test_a_drop_touches_nothing_beside_its_prefix(server: Server, bucket: str, site: Site) -> None:
    own = of_branch(server, bucket, site, "Empty")
    site.run(Action.PREPARE, own)
    beside = {
        "prod__feature-x.csv": b"1",
        "prod__feature-xy/z": b"2",
        "prod__feature-": b"3",
        "prod/prod__feature-x/y": b"4",
    }
    server.put(bucket, beside | {"prod__feature-x/own": b"5"})
    assert code(site.run(Action.DROP, own), "lake") == "Ok"
    assert beside.keys() <= server.objects(bucket).keys()
    assert not under(server, bucket, "prod__feature-x/")


# Reading through.


def test_a_branch_reads_its_parent_with_a_login_that_cannot_write(server: Server, bucket: str, site: Site) -> None:
    own = of_branch(server, bucket, site, "ReadThrough")
    assert code(site.run(Action.PREPARE, own), "lake") == "Ok"
    assert code(site.run(Action.PROBE, own), "lake") == "Ok"
    assert under(server, bucket, "prod__feature-x/") == {}
    assert own.attributes["readUrl"] == f"s3://{bucket}/prod/"
    with pytest.raises(obstore.exceptions.PermissionDeniedError):
        obstore.put(server.store(bucket, "reader"), f"{own.attributes['readPrefix']}x", b"1")
