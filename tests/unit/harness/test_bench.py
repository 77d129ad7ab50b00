"""The bench's own arithmetic: what it counts, what it calls a delay, what it writes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from tests.bench import argo, audit, bare, bench, budgets, fanout, load, report, restart
from tests.bench.argo import ArgoCost
from tests.bench.budgets import Figures
from tests.bench.driven import Driven, step_delays
from tests.bench.fanout import FanOutCost
from tests.bench.load import Cost
from tests.bench.restart import RestartCost, Start
from tests.bench.stand import fresh
from tests.bench.vaulted import VaultCost
from tests.harness.player import PodTimes

from localcluster import binaries

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
    controller_cpu_ms=6.71,
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
    assert audit.count(log, len("run-00001-a-1-abc-x"), agent="player").idle == {"patch pods": 1}
    assert audit.count(log, 9, datetime(2026, 11, 23, 14, 0, 10, tzinfo=UTC)).idle == {"patch pipelineruns": 1}


def test_a_delay_lasts_from_an_end_to_the_next_pod_of_that_run() -> None:
    times = [
        PodTimes("r", "a", 1, added=0, ended=1.0),
        PodTimes("s", "a", 1, added=0, ended=1.5),
        PodTimes("r", "b", 1, added=1.25, ended=2.5),
        PodTimes("r", "c", 1, added=3.0, ended=4.0),
    ]
    assert step_delays(times) == [0.25, 0.5]


def test_a_measurement_finds_nothing_of_an_earlier_one(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "load"
    for _ in range(2):
        fresh(folder)
        assert list(folder.iterdir()) == []
        (folder / "data").mkdir()
        (folder / "data" / "raft.db").write_text("a Vault that was initialized")


def test_the_table_sets_the_rival_beside() -> None:
    text = report.table(Figures([COST]))
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
    assert words in budgets.missed(Figures([cost]))[0]


VAULT = VaultCost(
    requests=301, logins=100, by_path={}, left={"tokens": 0, "Secrets": 0, "records": 0}, taken_back_seconds=1.5
)
WITH_SECRETS = replace(COST, load="100 at once, a secret each", writes_max=12, vault=VAULT)


def test_secrets_are_told_in_figures_of_a_run() -> None:
    text = " ".join(report.table(Figures([COST, WITH_SECRETS])).split())
    assert "1.00 logins and 3.01 requests to Vault a run" in text
    assert "1.5 s after the last run's end there were 0 tokens, Secrets and records left" in text
    assert "80 MB at the peak of 100 at once (" in text, "the memory of plain runs is told of plain runs"
    assert budgets.missed(Figures([WITH_SECRETS])) == []


@pytest.mark.parametrize(
    ("vault", "words"),
    [
        (replace(VAULT, logins=101), "101 logins for 100 runs, one each is promised"),
        (replace(VAULT, requests=304), "304 requests to Vault for 100 runs, 3 each are promised"),
        (replace(VAULT, left={"tokens": 1, "Secrets": 0}), "left after 2 s: {'tokens': 1}"),
    ],
)
def test_a_broken_promise_about_secrets_is_told(vault: VaultCost, words: str) -> None:
    assert words in budgets.missed(Figures([replace(WITH_SECRETS, vault=vault)]))[0]


def test_memory_a_run_is_what_more_runs_add() -> None:
    few, more = replace(COST, alive=100), replace(COST, load="300 live at once", runs=300, alive=300, rss_peak_mb=100)
    assert "102 kB a live run" in " ".join(report.table(Figures([more, few])).split())
    assert "kB a live run" not in report.table(Figures([few]))
    assert Figures([COST, more]).memory_a_run() == [], "runs that need not be alive at once tell nothing of that"


LIVE = [
    replace(COST, load="100 live at once", runs=100, alive=100, rss_peak_mb=90, controller_cpu_ms=20),
    replace(COST, load="500 live at once", runs=500, alive=500, rss_peak_mb=110, controller_cpu_ms=16),
    replace(COST, load="2,000 live at once", runs=2000, alive=2000, rss_peak_mb=185, controller_cpu_ms=32),
]


def test_what_a_run_costs_among_few_and_among_many_is_held_against_each_other() -> None:
    text = report.table(Figures(LIVE))
    runs = "a run of 100 / 500 / 2,000 live runs, most over least"
    assert f"| CPU of the operator, {runs} | ≤ 1.5 | 2 | missed by 33% |" in text
    assert f"| API writes, {runs} | ≤ 1.5 | 1 | kept |" in text
    assert "| memory, a further run of 100 / 500 / 2,000 live runs, most over least | ≤ 1.5 | 1 | kept |" in text
    assert "| memory, a further live run | ≤ 60 kB | 51.2 kB | kept |" in text
    assert "takes 20.0 / 16.0 / 32.0 ms of the operator's CPU" in " ".join(text.split())
    assert "| 2,000 live at once | **DataOps operator**, Job controller tuned | - |" in text, "they are held: no rate"
    assert budgets.missed(Figures(LIVE)) == [], "times and sizes break no promise"


def test_runs_that_were_not_all_alive_at_once_are_told() -> None:
    assert "only 1990 of 2000 runs were alive at once" in budgets.missed(Figures([replace(LIVE[2], alive=1990)]))[0]


FAN_OUT = FanOutCost(
    items=5000,
    parallelism=500,
    succeeded=True,
    seconds=60,
    writes=40,
    status_bytes=757,
    cpu_seconds=2.5,
    rss_idle_mb=78,
    rss_peak_mb=81,
)
START = Start(ready_seconds=4.21, first_job_seconds=12, rss_mb=110, rss_peak_mb=140, writes=0)
RESTART = RestartCost(finished=10_000, kept=False, orderly=START)
BESIDE_PODS = RestartCost(finished=5000, kept=True, orderly=START, killed=replace(START, first_job_seconds=4.5))


def test_a_fan_out_and_a_restart_are_told_beside_the_loads() -> None:
    figures = Figures([COST], FAN_OUT, [RESTART])
    text = report.table(figures)
    assert "| size of the status, a fan-out of 5,000 | ≤ 4,096 bytes | 757 bytes | kept |" in text
    assert "| API writes, a fan-out of 5,000 in 60 s | ≤ 160 | 40 | kept |" in text
    assert "| restart with 10,000 finished runs, until ready | ≤ 10 s | 4.21 s | kept |" in text
    assert (
        "| restart with 10,000 finished runs, until the first Job of a new one | ≤ 10 s | 12 s | missed by 20% |"
        in text
    )
    assert "5,000 items, 500 at once, by one Indexed Job: 60 s, 40 writes" in " ".join(text.split())
    assert budgets.missed(figures) == [], "a restart that is slow breaks no promise that is a count"


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (Figures([], replace(FAN_OUT, succeeded=False)), "a fan-out of 5,000: the run failed"),
        (Figures([], replace(FAN_OUT, status_bytes=5000)), "its status has 5,000 bytes, at most 4,096 are allowed"),
        (Figures([], replace(FAN_OUT, writes=161)), "161 writes in 60 s, at most 160 are allowed"),
        (
            Figures([], restarts=[replace(RESTART, orderly=replace(START, writes=2))]),
            "restart with 10,000 finished runs: 2 writes on runs that had ended",
        ),
        (
            Figures([], restarts=[replace(BESIDE_PODS, killed=replace(START, writes=1))]),
            "restart after SIGKILL with 5,000 finished runs and their pods: 1 writes on runs that had ended",
        ),
    ],
)
def test_a_broken_promise_about_size_is_told(figures: Figures, words: str) -> None:
    assert words in budgets.missed(figures)[0]


def test_a_restart_beside_pods_is_told_with_one_after_a_sigkill() -> None:
    figures = Figures([COST], restarts=[RESTART, BESIDE_PODS])
    text = report.table(figures)
    what = "with 5,000 finished runs and their pods"
    assert f"| restart {what}, until ready | ≤ 10 s | 4.21 s | kept |" in text
    assert f"| restart {what}, until the first Job of a new one | ≤ 10 s | 12 s | missed by 20% |" in text
    assert f"| restart after SIGKILL {what}, until the first Job of a new one | ≤ 10 s | 4.50 s | kept |" in text
    assert f"| restart after SIGKILL {what}, API writes on them | ≤ 0 | 0 | kept |" in text
    words = " ".join(text.split())
    assert "Restart with 10,000 finished runs, their Jobs deleted: 4.2 s" in words
    assert "Restart with 5,000 finished runs, all their Jobs and pods still there: 4.2 s" in words
    assert words.count("After SIGKILL, its Lease not given up: 4.2 s and 4.5 s") == 1
    assert budgets.missed(figures) == []


def test_a_disturbed_measurement_says_so() -> None:
    assert "Disturbed" not in report.table(Figures([COST]))
    assert "Disturbed: other processes took up to 40%" in report.table(Figures([replace(COST, foreign_share=0.4)]))


def test_budgets_are_told_with_what_was_seen_and_by_how_much_one_was_missed() -> None:
    slow = replace(COST, load="300 at once", runs=300, runs_per_minute=900, controller_cpu_ms=18)
    text = report.table(Figures([slow, replace(COST, load="300 at once, fused", fused=True, writes_max=5)]))
    assert "| API writes, a run of 3 steps | ≤ 9 | 9 | kept |" in text
    assert "| API writes, the same in one pod | ≤ 6 | 5 | kept |" in text
    assert "| runs a minute, 300 at once, Job controller tuned | ≥ 1,200 | 900 | missed by 25% |" in text
    assert "| CPU of the operator, a run | ≤ 15 ms | 18 ms | missed by 20% |" in text
    assert "bare loop reaches" not in text, "none was measured"


BARE = Driven(
    **{name: value for name, value in vars(COST).items() if name in Driven.__dataclass_fields__}
    | {"load": "300 at once", "runs": 300, "runs_per_minute": 1200, "writes_max": 7, "events_per_run": 0}
)
BARE_FUSED = replace(BARE, load="300 at once, fused", fused=True, runs_per_minute=2400, writes_mean=3, writes_max=3)


def test_the_operator_is_held_against_a_bare_loop() -> None:
    plain, fused = replace(COST, load="300 at once"), replace(COST, load="300 at once, fused", runs_per_minute=1800)
    stock = replace(plain, tuned=False, runs_per_minute=80)
    figures = Figures([plain, stock, fused], bare=[BARE, BARE_FUSED])
    text = report.table(figures)
    rows = [line for line in text.splitlines() if line.startswith("| 300 at once |")]
    assert rows[2].startswith("| 300 at once | a bare loop, the same Jobs, Job controller tuned | 1,200 | 14 ms /")
    assert rows[2].endswith("| 7.0 (0.0) |")
    assert "Argo" in rows[3], "it stands between the operator and the rival"
    assert "reaches 87% (300 at once) and 75% (300 at once, fused) of the runs a minute" in " ".join(text.split())
    assert budgets.missed(figures) == []


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (replace(BARE, failed=2), "300 at once, a bare loop: 2 of 300 runs failed"),
        (replace(BARE, writes_mean=6.9), "6.90 writes a run, 7 at the most, where 7 are needed"),
        (replace(BARE_FUSED, writes_max=4), "3.00 writes a run, 4 at the most, where 3 are needed"),
    ],
)
def test_a_bare_loop_that_does_less_or_more_than_needed_is_no_yardstick(loop: Driven, words: str) -> None:
    assert words in budgets.missed(Figures([COST], bare=[loop]))[0]


RIVAL = ArgoCost(
    **vars(replace(BARE, runs_per_minute=500, delay_p99=1.1, api_cpu_ms=166)),
    settings=argo.TUNED.name,
    rss_idle_mb=61,
    rss_peak_mb=90,
)


def test_the_operator_is_held_against_the_rival_on_the_same_machine() -> None:
    plain, fused = replace(COST, load="300 at once"), replace(COST, load="300 at once, fused", runs_per_minute=1800)
    paced = replace(COST, load="240 a minute", delay_p99=0.055)
    minimal = replace(RIVAL, settings=argo.MINIMAL.name, runs_per_minute=600)
    stock = replace(plain, tuned=False, runs_per_minute=80)
    figures = Figures([stock, plain, fused, paced], rival=[minimal, RIVAL, replace(RIVAL, load="240 a minute")])
    text = report.table(figures)
    assert "| 300 at once | Argo Workflows v4.0.5, tuned | 500 | 14 ms / 900 ms / 1.1 s |" in text
    assert "| 300 at once | Argo Workflows v4.0.5, tuned, minimal CRDs | 600 |" in text
    words = " ".join(text.split())
    assert "2.1 times the runs a minute for 50% of the API server's CPU (300 at once)" in words
    assert "3.6 times the runs a minute for 50% of the API server's CPU (300 at once, fused)" in words
    assert "p99, of 55 ms where it has 1,100 ms (240 a minute)" in words
    assert "61 MB idle, 90 MB at the peak of 300 at once" in words
    assert budgets.missed(figures) == []
    assert "times the runs a minute" not in report.table(Figures([plain, fused])), "none was measured"


def test_the_rival_is_called_by_the_version_that_is_built() -> None:
    lock = (binaries.LOCKS / "argo" / "go.mod").read_text()
    assert f"github.com/argoproj/argo-workflows/v4 {argo.NAME.split()[-1]} " in lock.replace("\n", " ")


def test_a_rival_whose_runs_fail_is_no_measure() -> None:
    (said,) = budgets.missed(Figures([COST], rival=[replace(RIVAL, failed=1)]))
    assert said.startswith("300 at once, Argo Workflows v4.0.5, tuned: 1 of 300 runs failed")


def test_slowness_breaks_no_promise() -> None:
    assert budgets.missed(Figures([replace(COST, runs_per_minute=1, delay_p50=60)])) == []


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
        load, "measure", lambda one, tuned, **_: replace(COST, load=one.name, tuned=tuned, runs=one.runs)
    )
    monkeypatch.setattr(bare, "measure", lambda one, **_: replace(BARE_FUSED if one.fused else BARE, load=one.name))
    monkeypatch.setattr(
        argo, "measure", lambda one, settings, **_: replace(RIVAL, load=one.name, settings=settings.name)
    )
    monkeypatch.setattr(fanout, "measure", lambda items, parallelism, **_: replace(FAN_OUT, items=items))
    monkeypatch.setattr(
        restart, "measure", lambda finished, kept, **_: replace(BESIDE_PODS if kept else RESTART, finished=finished)
    )
    assert bench.main(["--write-readme"]) == 0
    rows = [line.split("|")[1:3] for line in readme.read_text().splitlines() if "DataOps" in line]
    assert [(name.strip(), who.split()[-1]) for name, who in rows] == [
        (one.name, world)
        for one in bench.FULL
        for world in ("stock", "tuned")
        if world == "tuned" or not (one.secrets or one.hold)
    ]
    rows = [line.split("|")[1:3] for line in readme.read_text().splitlines() if "a bare loop, the same Jobs" in line]
    assert [name.strip() for name, _ in rows] == ["300 at once", "300 at once, fused"]
    rows = [line.split("|")[1:3] for line in readme.read_text().splitlines() if argo.NAME in line and line[0] == "|"]
    assert [(name.strip(), who.strip()) for name, who in rows] == [
        (name, f"{argo.NAME}, {settings.name}") for name, each in bench.RIVALS.items() for settings in each
    ]
    assert "a fan-out of 5,000" in readme.read_text()
    assert "restart with 10,000 finished runs, until ready" in readme.read_text()
    assert "restart after SIGKILL with 5,000 finished runs and their pods, until ready" in readme.read_text()
