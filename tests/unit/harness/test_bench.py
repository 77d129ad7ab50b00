"""The bench's own arithmetic: what it counts, what it calls a delay, what it writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from tests.bench import audit, bench, report
from tests.bench.load import Cost, step_delays
from tests.bench.vaulted import VaultCost
from tests.harness.player import PodTimes

COST = Cost(
    load="100 at once",
    tuned=True,
    runs=100,
    failed=0,
    runs_per_minute=1044.4,
    delay_p50=0.0141,
    delay_p95=0.9,
    delay_p99=1.08,
    writes_mean=7.0,
    writes_max=9,
    events_per_run=2,
    leases=3,
    refused={},
    definitions=2,
    operator_cpu_ms=6.71,
    api_cpu_ms=83,
    rss_idle_mb=60,
    rss_peak_mb=80,
    restart_seconds=1.5,
    idle_writes={},
    idle_seconds=60,
    foreign_share=0.01,
)


def _entry(verb: str, resource: str, name: str, agent: str = "dataops-operator/0.1", second: int = 0) -> bytes:
    return orjson.dumps(
        {
            "verb": verb,
            "userAgent": agent,
            "objectRef": {"resource": resource, "name": name},
            "responseStatus": {"code": 409 if verb == "update" else 200},
            "requestReceivedTimestamp": f"2026-11-23T14:00:{second:02}.5Z",
        }
    )


def test_writes_are_counted_by_run(tmp_path: Path) -> None:
    entries = [
        _entry("create", "jobs", "run-00001-a-1-abc"),
        _entry("patch", "pipelineruns", "run-00001"),
        _entry("patch", "pipelineruns", "run-00002", second=30),
        _entry("update", "pipelines", "chain"),
        _entry("create", "events", "e"),
        _entry("update", "leases", "l"),
        _entry("delete", "jobs", "run-00001-a-1-abc"),
        _entry("get", "jobs", "run-00001-a-1-abc"),
        _entry("patch", "pods", "run-00001-a-1-abc-x", agent="player"),
        _entry("create", "configmaps", "vault-11111111"),
        _entry("patch", "configmaps", "vault-11111111"),
        _entry("create", "configmaps", "vault-22222222"),
    ]
    (tmp_path / "audit-rotated.log").write_bytes(entries[0] + b"\n")
    log = tmp_path / "audit.log"
    log.write_bytes(b"\n".join(entries[1:]))
    counted = audit.count(log, len("run-00001"))
    assert counted.per_run == {"run-00001": 2, "run-00002": 1}
    assert counted.records == {"vault-11111111": 2, "vault-22222222": 1}
    assert (counted.definitions, counted.events, counted.leases, counted.deletes) == (1, 1, 1, 1)
    assert counted.refused == {"update pipelines: 409": 1, "update leases: 409": 1}
    assert audit.count(log, 9, datetime(2026, 11, 23, 14, 0, 10, tzinfo=UTC)).idle == {"patch pipelineruns": 1}


def test_a_delay_lasts_from_an_end_to_the_next_pod_of_that_run() -> None:
    times = [
        PodTimes("r", "a", 1, added=0, ended=1.0),
        PodTimes("s", "a", 1, added=0, ended=1.5),
        PodTimes("r", "b", 1, added=1.25, ended=2.5),
        PodTimes("r", "c", 1, added=3.0, ended=4.0),
    ]
    assert step_delays(times) == [0.25, 0.5]


def test_the_table_sets_the_rival_beside() -> None:
    text = report.table([COST])
    assert "| 100 at once | **DataOps operator**, Job controller tuned | 1,044 | 14 ms / 900 ms / 1.1 s |" in text
    assert (
        "| 100 at once | Argo Workflows v4.1.2, default | 122 | 10.7 s / - / 14.2 s | 73 ms | 300 ms | 11 (10) |"
        in text
    )
    assert "300 at once" not in text


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (replace(COST, writes_max=10), "10 writes for one run of 3 steps, at most 9"),
        (replace(COST, idle_writes={"patch pipelines": 1}), "written in 60 s after a restart: {'patch pipelines': 1}"),
        (replace(COST, failed=1), "1 of 100 runs failed"),
    ],
)
def test_a_broken_promise_is_told(cost: Cost, words: str) -> None:
    assert words in report.missed([cost])[0]


VAULT = VaultCost(
    requests=301, logins=100, by_path={}, left={"tokens": 0, "Secrets": 0, "records": 0}, taken_back_seconds=1.5
)
WITH_SECRETS = replace(COST, load="100 at once, a secret each", writes_max=12, vault=VAULT)


def test_secrets_are_told_in_figures_of_a_run() -> None:
    text = " ".join(report.table([COST, WITH_SECRETS]).split())
    assert "1.00 logins and 3.01 requests to Vault a run" in text
    assert "1.5 s after the last run's end there were 0 tokens, Secrets and records left" in text
    assert "80 MB at the peak of 100 at once (" in text, "the memory of plain runs is told of plain runs"
    assert report.missed([WITH_SECRETS]) == []


@pytest.mark.parametrize(
    ("vault", "words"),
    [
        (replace(VAULT, logins=101), "101 logins for 100 runs, one each is promised"),
        (replace(VAULT, requests=304), "304 requests to Vault for 100 runs, 3 each are promised"),
        (replace(VAULT, left={"tokens": 1, "Secrets": 0}), "left after 2 s: {'tokens': 1}"),
    ],
)
def test_a_broken_promise_about_secrets_is_told(vault: VaultCost, words: str) -> None:
    assert words in report.missed([replace(WITH_SECRETS, vault=vault)])[0]


def test_memory_a_run_is_what_more_runs_add() -> None:
    more = replace(COST, load="300 at once", runs=300, rss_peak_mb=100)
    assert "102 kB a live run" in " ".join(report.table([COST, more]).split())
    assert "a live run" not in report.table([COST])


def test_a_disturbed_measurement_says_so() -> None:
    assert "Disturbed" not in report.table([COST])
    assert "Disturbed: other processes took up to 40%" in report.table([replace(COST, foreign_share=0.4)])


def test_budgets_are_told_with_what_was_seen_and_by_how_much_one_was_missed() -> None:
    slow = replace(COST, load="300 at once", runs=300, runs_per_minute=900, operator_cpu_ms=18)
    text = report.table([slow, replace(COST, load="300 at once, fused", fused=True, writes_max=5)])
    assert "| API writes, a run of 3 steps | ≤ 9 | 9 | kept |" in text
    assert "| API writes, the same in one pod | ≤ 6 | 5 | kept |" in text
    assert "| runs a minute, 300 at once, Job controller tuned | ≥ 1,200 | 900 | missed by 25% |" in text
    assert "| CPU of the operator, a run | ≤ 15 ms | 18 ms | missed by 20% |" in text
    assert "at 1,200 a minute the API server and the operator alone would take 2.0 of the" in " ".join(text.split())


def test_slowness_breaks_no_promise() -> None:
    assert report.missed([replace(COST, runs_per_minute=1, delay_p50=60)]) == []


def test_the_readme_is_replaced_between_its_markers_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{report.START}\nold\n{report.END}\nbelow\n")
    report.write_readme(readme, "new")
    assert readme.read_text() == f"above\n{report.START}\nnew\n{report.END}\nbelow\n"


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(SystemExit, match="has no lines"):
        report.write_readme(readme, "new")


@pytest.mark.parametrize("part", [["--quick"], ["--only", "tuned"]])
def test_the_readme_takes_no_part_of_the_table(part: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--write-readme", *part])
    assert "leave --quick and --only out" in capsys.readouterr().err


def test_the_whole_bench_takes_every_load_with_both_job_controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "OUT", tmp_path)
    monkeypatch.setattr(bench, "interpreter", lambda: Path("python"))
    monkeypatch.setattr(
        bench, "measure", lambda load, tuned, **_: replace(COST, load=load.name, tuned=tuned, runs=load.runs)
    )
    assert bench.main(["--write-readme"]) == 0
    rows = [line.split("|")[1:3] for line in readme.read_text().splitlines() if "DataOps" in line]
    assert [(load.strip(), who.split()[-1]) for load, who in rows] == [
        (load.name, world)
        for load in bench.FULL
        for world in ("stock", "tuned")
        if world == "tuned" or not load.secrets
    ]
