"""Where targets are: in canonical words, whether two are one, and a branch's beside its parent's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_operator.api.environment import EnvironmentSpec
from dataops_operator.core.environment import Effective
from dataops_operator.core.places import ATTRIBUTES
from dataops_operator.core.problems import Problem
from dataops_operator.core.targets import ResolvedTarget, conflict, dump, load, overlaps, resolve_targets

Object = dict[str, Any]


def login(name: str) -> Object:
    return {"vault": {"path": f"database/creds/{name}"}}


LOGINS: Any = {
    "credentials": login("loader"),
    "readCredentials": login("reader"),
    "branchCredentials": login("brancher"),
}


def postgres(name: str = "warehouse", access: str = "ReadWrite", **place: Any) -> Object:
    return {
        "name": name,
        "access": access,
        "postgres": {"host": "pg.data", "database": "dwh", "schema": "marts"} | place,
    }


def s3(name: str = "lake", access: str = "ReadWrite", **place: Any) -> Object:
    return {
        "name": name,
        "access": access,
        "s3": {"endpoint": "https://s3.example", "bucket": "lake", "prefix": "prod/"} | place,
    }


def volume(name: str = "scratch", access: str = "ReadWrite", kind: str = "volume", **place: Any) -> Object:
    return {"name": name, "access": access, kind: place or {"size": "1Gi"}}


def resolve(
    *targets: Object, name: str = "prod", parent: Effective | None = None, **spec: Any
) -> tuple[dict[str, ResolvedTarget], list[Problem]]:
    whole = EnvironmentSpec.model_validate(spec | ({"targets": list(targets)} if targets else {}))
    found, problems = resolve_targets(whole, "team", name, f"team-{name}", parent)
    return {one.name: one for one in found}, problems


def one(target: Object, execution: str = "prod") -> ResolvedTarget:
    found, problems = resolve(target, name=execution)
    assert problems == []
    return found[target["name"]]


def parent(*targets: Object, name: str = "prod") -> Effective:
    found, problems = resolve(*targets, name=name)
    assert problems == []
    return Effective("team", name, f"team-{name}", "r", EnvironmentSpec.model_validate({}), found)


def branch(
    of: Effective, mode: str | None = None, name: str = "feature-x", targets: tuple[Object, ...] = ()
) -> tuple[dict[str, ResolvedTarget], list[Problem]]:
    more: Any = {"from": of.name} | ({"dataMode": mode} if mode else {})
    return resolve(*targets, name=name, parent=of, **more)


# Places and addresses.

ADDRESSES = [
    (
        postgres(port=5433, sslMode="verify-full"),
        {
            "url": "postgresql://pg.data:5433/dwh?sslmode=verify-full&options=-csearch_path%3Dmarts",
            "host": "pg.data",
            "port": "5433",
            "database": "dwh",
            "schema": "marts",
            "readSchema": "marts",
        },
    ),
    (
        s3(region="eu-west-1"),
        {
            "url": "s3://lake/prod/",
            "endpoint": "https://s3.example",
            "bucket": "lake",
            "region": "eu-west-1",
            "prefix": "prod/",
            "readPrefix": "prod/",
        },
    ),
    (volume(), {"url": "file:///dataops/targets/scratch", "path": "/dataops/targets/scratch"}),
    (
        volume(kind="duckdb", size="1Gi", file="w.duckdb"),
        {"url": "duckdb:////dataops/targets/scratch/w.duckdb", "path": "/dataops/targets/scratch/w.duckdb"},
    ),
]


@pytest.mark.parametrize(("target", "expected"), ADDRESSES, ids=["postgres", "s3", "volume", "duckdb"])
def test_templates_may_name_the_parts_of_a_kind_and_no_credential(target: Object, expected: dict[str, str]) -> None:
    given = dict(one(target).attributes)
    assert expected.items() <= given.items()
    assert given.keys() <= ATTRIBUTES
    assert given["readUrl"] == given["url"]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (postgres(), postgres(host="PG.Data"), True),
        (postgres(), postgres(host="pg.data.svc"), True),
        (postgres(), postgres(host="pg.data.svc.cluster.local", port=5432), True),
        (postgres(), postgres(port=5433), False),
        (postgres(), postgres(database="other"), False),
        (postgres(), postgres(schema="mart"), False),
        (postgres(), postgres(schema="marts_x"), False),
        (s3(), s3(endpoint="http://S3.example:80"), True),
        (s3(), s3(endpoint="https://s3.example:443"), True),
        (s3(), s3(endpoint="https://s3.example:9000"), False),
        (s3(), s3(bucket="lake2"), False),
        (s3(), s3(prefix="prod2/"), False),
        (s3(), s3(prefix="pro/"), False),
        (s3(), s3(prefix=""), True),
        (s3(), s3(prefix="prod/deep/down/"), True),
        (s3(prefix="a/b/"), s3(prefix="a/c/"), False),
        (s3(endpoint="https://s3.eu-west-1.amazonaws.com"), s3(endpoint="https://s3.amazonaws.com"), True),
        (volume(claim="c"), volume(claim="d"), False),
        (volume(claim="c"), volume(kind="duckdb", claim="c"), True),
        (volume(kind="duckdb", claim="c", file="a"), volume(kind="duckdb", claim="c", file="b"), False),
        (volume(kind="duckdb", claim="c", file="a"), volume(kind="duckdb", claim="c", file="a"), True),
        (postgres(), s3(), False),
    ],
)
def test_two_targets_are_one_place_however_it_is_written(first: Object, second: Object, same: bool) -> None:
    assert overlaps(one(first), one(second)) is same
    assert overlaps(one(second), one(first)) is same
    assert conflict(one(first), one(second)) is same
    reads = first | {"access": "ReadOnly"}
    if "size" not in str(first):
        assert not conflict(one(reads), one(second))


def test_a_bare_name_and_a_claim_belong_to_the_namespace_that_says_them() -> None:
    assert not overlaps(one(postgres(host="pg"), "prod"), one(postgres(host="pg"), "test"))
    assert overlaps(one(postgres(host="pg"), "prod"), one(postgres(host="pg.team-prod"), "test"))
    assert not overlaps(one(volume(claim="c"), "prod"), one(volume(claim="c"), "test"))


# What is wrong.


@pytest.mark.parametrize(
    ("targets", "path", "says"),
    [
        ([{"name": "a"}], "spec.targets[0]", "exactly one of postgres, s3, volume and duckdb"),
        ([postgres() | s3("warehouse")], "spec.targets[0]", "exactly one of"),
        ([postgres(schema="pg_catalog")], "spec.targets[0].postgres.schema", "PostgreSQL's own"),
        ([postgres(schema="information_schema")], "spec.targets[0].postgres.schema", "PostgreSQL's own"),
        ([s3(endpoint="http://s3:70000")], "spec.targets[0].s3.endpoint", "from 1 to 65535"),
        ([volume(claim="c", size="1Gi")], "spec.targets[0].volume", "exactly one of size"),
        ([volume(kind="duckdb", file="x")], "spec.targets[0].duckdb", "exactly one of size"),
        ([volume(access="ReadOnly", size="1Gi")], "spec.targets[0].access", "name one that exists"),
        ([s3(), s3("other", prefix="prod/in/")], "spec.targets[1]", "write to one place"),
        ([postgres(), postgres()], "spec.targets[1]", "two targets called 'warehouse'"),
    ],
)
def test_what_is_wrong_is_told_with_its_path_and_the_cure(targets: list[Object], path: str, says: str) -> None:
    _, problems = resolve(*targets)
    assert [problem.path for problem in problems] == [path]
    assert says in problems[0].message


def test_the_rest_of_the_targets_stand_beside_a_wrong_one() -> None:
    found, problems = resolve(postgres(schema="pg_x"), s3())
    assert list(found) == ["lake"]
    assert len(problems) == 1


# Branches.


def test_a_branch_has_places_beside_its_parents() -> None:
    found, problems = branch(parent(postgres(**LOGINS), s3(prefix="a/prod/", **LOGINS), volume()))
    assert problems == []
    assert found["warehouse"].attributes["schema"] == "marts__feature_x"
    assert found["lake"].attributes["prefix"] == "a/prod__feature-x/"
    assert found["scratch"].location == "claim://team-feature-x/target-scratch/"
    assert all(target.made_by_us and target.writable for target in found.values())
    assert found["warehouse"].logins == {"warehouse": found["warehouse"].credentials}
    assert str(found["warehouse"].credentials).count("creds/brancher") == 1


@pytest.mark.parametrize(
    ("mode", "reads", "job_logins"),
    [
        ("Empty", "marts__feature_x", {"warehouse": "brancher"}),
        ("Copy", "marts__feature_x", {"warehouse": "brancher", "warehouse-read": "reader"}),
        ("ReadThrough", "marts", {"warehouse": "brancher", "warehouse-read": "reader"}),
    ],
)
def test_who_logs_in_where(mode: str, reads: str, job_logins: dict[str, str]) -> None:
    found, problems = branch(parent(postgres(**LOGINS)), mode)
    assert problems == []
    target = found["warehouse"]
    assert target.attributes["readSchema"] == reads
    assert {name: one.vault.path for name, one in target.job_logins.items()} == {
        name: f"database/creds/{who}" for name, who in job_logins.items()
    }
    through = mode == "ReadThrough"
    assert target.logins.keys() == ({"warehouse", "warehouse-read"} if through else {"warehouse"})
    assert (target.attributes["url"] != target.attributes["readUrl"]) is through
    # The login that may write to the parent's data is nowhere in the branch.
    assert "loader" not in str(dump(target))


@pytest.mark.parametrize("mode", ["Copy", "ReadThrough"])
def test_a_parent_without_a_login_to_read_with_is_a_problem_where_somebody_logs_in(mode: str) -> None:
    for target in (postgres(credentials=login("loader")), s3(branchCredentials=login("b"))):
        found, problems = branch(parent(target), mode)
        assert found == {}
        assert problems[0].path == "spec.dataMode"
        assert "readCredentials" in problems[0].message
        assert branch(parent(target), "Empty")[1] == []
    assert branch(parent(s3()), mode)[1] == []


def test_without_branch_credentials_the_parents_own_are_used() -> None:
    found, _ = branch(parent(postgres(credentials=login("loader"))))
    assert found["warehouse"].credentials is not None
    assert found["warehouse"].credentials.vault.path == "database/creds/loader"


@pytest.mark.parametrize(
    ("target", "mode", "cure"),
    [
        (volume(), "Copy", "set dataMode: Empty"),
        (volume(kind="duckdb", size="1Gi"), "ReadThrough", "set dataMode: Empty"),
        (volume(claim="theirs"), "Empty", "with a size"),
        (volume(claim="theirs", access="ReadOnly"), "Empty", "another namespace"),
        (s3(prefix=""), "Empty", "a prefix"),
    ],
)
def test_what_cannot_be_derived_is_a_problem_with_the_cure_and_naming_it_is_one(
    target: Object, mode: str, cure: str
) -> None:
    of = parent(target)
    found, problems = branch(of, mode)
    assert found == {}
    assert len(problems) == 1
    assert cure in problems[0].message
    mended = {"name": target["name"], "volume": {"size": "2Gi"}}
    found, problems = branch(of, mode, targets=(mended,))
    assert problems == []
    assert found[target["name"]].kind == "volume"


def test_what_the_parent_only_reads_is_read_from_the_same_place() -> None:
    found, problems = branch(parent(postgres(access="ReadOnly", **LOGINS), s3("out")), "Empty")
    assert problems == []
    target = found["warehouse"]
    assert (target.attributes["schema"], target.writable, target.made_by_us) == ("marts", False, False)
    assert target.logins["warehouse"].vault.path == "database/creds/reader"


def test_a_service_of_the_parents_namespace_is_found_from_the_branchs() -> None:
    of = parent(postgres(host="pg", **LOGINS), s3(endpoint="http://minio:9000", **LOGINS))
    found, _ = branch(of, "ReadThrough")
    assert found["warehouse"].attributes["host"] == "pg.team-prod"
    assert found["lake"].attributes["endpoint"] == "http://minio.team-prod:9000"
    assert "@pg.team-prod:" in found["warehouse"].attributes["readUrl"].replace("//", "//@")


def test_a_place_that_the_parent_has_already_is_stepped_around() -> None:
    of = parent(s3(), s3("other", prefix="prod__feature-x/"))
    found, problems = branch(of)
    assert problems == []
    assert found["lake"].attributes["prefix"].startswith("prod__feature-x-")
    assert not any(conflict(target, other) for target in found.values() for other in of.targets.values())


def test_the_name_of_a_reading_login_is_not_taken_by_a_target() -> None:
    of = parent(s3(**LOGINS), s3("lake-read", bucket="other", **LOGINS))
    _, problems = branch(of, "ReadThrough")
    assert ["rename the target lake-read" in problem.message for problem in problems] == [True]
    assert branch(of, "Empty")[1] == []


def test_a_branch_of_a_branch_lies_beside_both() -> None:
    of = parent(postgres(**LOGINS), s3(**LOGINS))
    first, _ = branch(of, "ReadThrough")
    middle = Effective("team", "feature-x", "team-feature-x", "r", EnvironmentSpec.model_validate({}), first)
    second, problems = branch(middle, "ReadThrough", name="y")
    assert problems == []
    assert second["warehouse"].attributes["readSchema"] == "marts__feature_x"
    for theirs in (*of.targets.values(), *first.values()):
        assert not any(overlaps(theirs, own) for own in second.values())


def test_without_its_parent_a_branch_has_what_it_names() -> None:
    origin: Any = {"from": "prod"}
    found, problems = resolve(s3("mine"), **origin)
    assert list(found) == ["mine"]
    assert problems == []


# For all of them.

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
SCHEMAS = st.from_regex(r"[a-z_][a-z0-9_]{0,62}", fullmatch=True).filter(
    lambda name: not name.startswith("pg_") and name != "information_schema"
)
PREFIXES = st.from_regex(r"([A-Za-z0-9_=-][A-Za-z0-9._=-]{0,40}/){1,12}", fullmatch=True)


@given(schema=SCHEMAS, prefix=PREFIXES, name=NAMES, mode=st.sampled_from(["Empty", "Copy", "ReadThrough"]))
def test_a_derived_place_is_a_good_one_and_never_overlaps_its_parents(
    schema: str, prefix: str, name: str, mode: str
) -> None:
    of = parent(postgres(schema=schema, **LOGINS), s3(prefix=prefix, **LOGINS), name="the-parent")
    found, problems = branch(of, mode, name=name)
    assert problems == []
    for target in found.values():
        assert not any(overlaps(target, theirs) for theirs in of.targets.values())
        # What a pinned revision keeps is read back whole, through the API's own rules for names.
        assert load(dump(target), f"team-{name}") == target
    assert resolve(*[dump(target)["spec"] for target in found.values()], name=name)[1] == []


@given(schema=SCHEMAS, prefix=PREFIXES, names=st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_branches_of_one_environment_share_no_place(schema: str, prefix: str, names: list[str]) -> None:
    of = parent(postgres(schema=schema), s3(prefix=prefix), name="the-parent")
    first, second = (branch(of, name=name)[0] for name in names)
    assert not any(overlaps(a, b) for a in first.values() for b in second.values())


@given(schemas=st.lists(st.sampled_from(["m", "m__a", "m__a_b", "m_", "m__"]), min_size=2, max_size=2, unique=True))
def test_branches_of_two_environments_share_no_place_though_their_names_would_join_alike(schemas: list[str]) -> None:
    for one_name in ("a", "b", "a--b", "a-b", "x"):
        for other_name in ("a", "b", "a--b", "a-b", "x"):
            one_place = branch(parent(postgres(schema=schemas[0]), name="p"), name=one_name)[0]["warehouse"]
            other = branch(parent(postgres(schema=schemas[1]), name="q"), name=other_name)[0]["warehouse"]
            assert not overlaps(one_place, other)
