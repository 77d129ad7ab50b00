"""The record of what a holder has in Vault: what stands in it is read back, and what it says is due."""

from dataclasses import replace

import pytest
from tests.builders import EPOCH, a_pod, at

from dataops_operator.core.credentials import Armed, Holder, Version
from dataops_operator.core.podlogin import login_of
from dataops_operator.core.records import Grant, Record, State, from_config_map, retry_after, to_config_map

HOLDER = Holder("PipelineRun", "team", "r", "uid-1")
TOKEN = Grant("accessor", 60.0, EPOCH + 60)
LEASE = Grant("database/creds/x/1", 3600.0, EPOCH + 3600, renewable=False)
RECORD = Record(
    HOLDER,
    "team",
    "team/prod",
    "default",
    state=State.ARMED,
    accessors=(TOKEN,),
    leases=(LEASE,),
    secrets=("old", "r-1"),
    files={"db": ("username", "password")},
    versions=(Version("db", leased=True), Version("api", 3)),
    ended=EPOCH,
)


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, delivery="Pod", accessors=(replace(TOKEN, pod="pod-uid"),)),
        Record(Holder("Environment", "team", "prod", "uid-2"), "team-prod", "team/prod", "default"),
    ],
)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert from_config_map(to_config_map(record)) == record


def test_a_record_is_found_by_its_label_and_named_after_its_holder() -> None:
    meta = to_config_map(RECORD)["metadata"]
    assert meta["name"] == "vault-uid-1"
    assert meta["labels"]["dataops.dev/vault-run"] == "uid-1"
    assert meta["labels"]["app.kubernetes.io/managed-by"] == "dataops-operator"


@pytest.mark.parametrize(
    "data",
    [{}, {"record": "no"}, {"record": "{}"}, {"record": "[]"}, {"record": '{"run": 1}'}, None],
    ids=["empty", "no JSON", "nothing", "a list", "no run", "no data"],
)
def test_what_is_no_record_is_told_apart(data: object) -> None:
    with pytest.raises(ValueError, match="no record"):
        from_config_map({"data": data})


def test_only_the_last_secret_of_an_armed_record_is_in_use() -> None:
    assert RECORD.armed == Armed("r-1", RECORD.files, RECORD.versions)
    assert replace(RECORD, state=State.LOGIN).armed is None
    assert replace(RECORD, state=State.REVOKING).armed is None
    assert replace(RECORD, secrets=()).armed is None


def test_a_grant_is_renewed_at_half_of_its_life() -> None:
    assert TOKEN.renew_at == EPOCH + 30
    assert TOKEN.renewed(60, EPOCH + 30).renew_at == EPOCH + 60


@pytest.mark.parametrize("grant", [LEASE, Grant("forever", 0.0, EPOCH)], ids=["not renewable", "without an end"])
def test_what_cannot_be_renewed_is_never_due(grant: Grant) -> None:
    assert grant.renew_at == float("inf")


def test_a_grant_at_the_end_of_its_longest_life_is_let_run_out() -> None:
    assert TOKEN.renewed(1, EPOCH).renew_at == float("inf")


def test_what_fails_is_tried_again_ever_more_slowly_and_for_ever() -> None:
    waits = [retry_after(failures) for failures in range(40)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1.0, 30.0)


# What pods tell.

TOLD = (
    '{"accessor": "a1", "ttl": 60, "renewable": true, "leases": [{"id": "l1", "ttl": 20}],'
    ' "versions": [{"name": "api", "version": 3}, {"name": "db", "leased": true}]}'
)


def ended_with(message: str, code: int = 0) -> dict[str, object]:
    terminated = {"exitCode": code, "message": message, "finishedAt": at(10)}
    return a_pod("a").agent(terminated=terminated).build()


def test_a_pod_tells_what_it_got() -> None:
    found = login_of(ended_with(TOLD))
    assert found is not None
    assert found.accessor == Grant("a1", 60.0, EPOCH + 70, renewable=True, pod="uid-pod")
    assert found.leases == (Grant("l1", 20.0, EPOCH + 30, renewable=True, pod="uid-pod"),)
    assert found.versions == (Version("api", 3), Version("db", leased=True))


def test_a_pod_that_failed_after_its_login_tells_its_accessor() -> None:
    found = login_of(ended_with('{"reason": "VaultForbidden", "message": "x", "accessor": "a1"}', 3))
    assert found is not None
    assert found.accessor.id == "a1"


@pytest.mark.parametrize("message", ["", "no JSON", "[]", "{}", '{"accessor": ""}', '{"accessor": 7}', '"a1"'])
def test_a_pod_that_tells_nothing_has_nothing(message: str) -> None:
    assert login_of(ended_with(message)) is None


@pytest.mark.parametrize(
    "more", ['"leases": 7', '"leases": [7, {"id": 1}]', '"versions": [{"name": 7}]', '"ttl": "x"', '"ttl": true']
)
def test_what_is_of_no_sense_beside_the_accessor_is_passed_over(more: str) -> None:
    found = login_of(ended_with(f'{{"accessor": "a1", {more}}}'))
    assert found is not None
    assert (found.accessor.id, found.leases, found.versions) == ("a1", (), ())


def test_a_pod_that_still_reads_tells_nothing_yet() -> None:
    assert login_of(a_pod("a").agent(running={"startedAt": at(1)}).build()) is None
    assert login_of(a_pod("a").running().build()) is None


def test_what_pods_got_stands_in_the_record_beside_the_rest() -> None:
    grant = Grant("a2", 60.0, EPOCH, pod="p")
    record = RECORD.with_pod(grant, (), (Version("api", 4),))
    assert record.accessors == (TOKEN, grant)
    assert record.versions == (Version("db", leased=True), Version("api", 4))
