"""The measured figures as a table beside the rival's, and in the README between its markers."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from tests.bench import argo, budgets
from tests.bench.budgets import FUSED, WIDTH, Figures, row, world
from tests.bench.driven import Driven
from tests.bench.fanout import FanOutCost
from tests.bench.load import Cost
from tests.bench.restart import RestartCost
from tests.bench.runs import STEPS
from tests.bench.vaulted import VaultCost

STUDY = Path(__file__).with_name("argo.json")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
OPERATOR, BARE = "**DataOps operator**", "a bare loop, the same Jobs"
FAIR = 0.1
"""The part of the machine that others may take before the table says so."""
COLUMNS = (
    "load",
    "who",
    "runs a minute",
    "step delay p50 / p95 / p99",
    "CPU a run: controller",
    "CPU a run: API server",
    "writes (and events) a run",
)


def table(figures: Figures) -> str:
    """The Markdown for these figures, each load followed by a bare loop's and the rival's for it."""
    costs = figures.costs
    study = orjson.loads(STUDY.read_bytes())
    lines = [row(*COLUMNS), "|" + "---|" * len(COLUMNS)]
    for load in dict.fromkeys(cost.load for cost in costs):
        lines += [row(load, *_measured(f"{OPERATOR}, {world(cost)}", cost)) for cost in costs if cost.load == load]
        lines += [row(load, *_measured(f"{BARE}, {world(cost)}", cost)) for cost in figures.bare if cost.load == load]
        lines += [
            row(load, *_measured(f"{argo.NAME}, {cost.settings}", cost)) for cost in figures.rival if cost.load == load
        ]
        plain = load.removesuffix(FUSED)
        theirs = [one for one in study["rows"] if one["load"] == plain]
        if plain == load or plain not in {cost.load for cost in costs}:
            lines += [row(load, *_studied(study["name"], one)) for one in theirs]
    notes = [textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in _notes(figures, study)]
    return "\n".join([*lines, "", *budgets.lines(figures), "", *notes])


def write_readme(readme: Path, text: str) -> None:
    """Replace what is between the markers.

    Raises:
        SystemExit: the README has no such markers.
    """
    before, start, rest = readme.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{readme} has no lines {START} and {END}: put them where the table shall stand")
    readme.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


def _measured(who: str, cost: Driven) -> tuple[str, ...]:
    delays = " / ".join(_seconds(value) for value in (cost.delay_p50, cost.delay_p95, cost.delay_p99))
    return (
        who,
        "-" if cost.alive else f"{cost.runs_per_minute:,.0f}",
        delays,
        f"{cost.controller_cpu_ms:.1f} ms",
        f"{cost.api_cpu_ms:.0f} ms",
        f"{cost.writes_mean:.1f} ({cost.events_per_run:.1f})",
    )


def _studied(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{name}, {figures['settings']}",
        f"{figures['runs_per_minute']:,}",
        f"{_seconds(figures['delay_p50'])} / - / {_seconds(figures['delay_p99'])}",
        _or_dash(figures["controller_cpu_ms"], " ms"),
        _or_dash(figures["api_cpu_ms"], " ms"),
        "-" if figures["writes"] is None else f"{figures['writes']} ({figures['events']})",
    )


def _notes(figures: Figures, study: dict[str, Any]) -> list[str]:
    costs = figures.costs
    plain = [cost for cost in costs if cost.vault is None and not cost.fused] or costs
    idle = max(cost.rss_idle_mb for cost in plain)
    peak = max(plain, key=lambda cost: cost.rss_peak_mb)
    per_run = f", {max(memory):.0f} kB a live run" if (memory := figures.memory_a_run()) else ""
    slowest = max(costs, key=lambda cost: cost.restart_seconds)
    writes = sum(sum(cost.idle_writes.values()) for cost in costs)
    return [
        f"Memory of the operator: {idle:.0f} MB idle, {peak.rss_peak_mb:.0f} MB at the peak of {peak.load}{per_run} "
        f"({study['name']}: {study['rss_idle_mb']} MB idle, {study['rss_peak_mb']} MB at the peak of 500). "
        f"Restart to ready: {slowest.restart_seconds:.1f} s at the most, among the runs, Jobs and pods of "
        f"{slowest.load}. Writes after a restart, nothing having changed: {writes}.",
        "",
        *_live(figures),
        *_fan_out(figures.fan_out),
        *(line for cost in figures.restarts for line in _restart(cost)),
        *(line for cost in costs if cost.vault for line in _secrets(cost, cost.vault)),
        f"A run is {STEPS} one-container steps in sequence, each pod Succeeded 1.0 s after it was created (so 3.0 s is "
        "the floor); fused, its steps share one pod that lasts the sum of them. One run goes before those that "
        "count. Step delay: from the answer to the write that made a step's pod Succeeded to the ADDED event of the "
        "next step's pod. Stock: the Job controller's own limit of 20 requests a second; tuned: "
        "`--kube-api-qps=500 --kube-api-burst=500 --concurrent-job-syncs=32`. "
        f"{os.cpu_count()} cores for all: etcd, API server with audit log and the chart's policies, controller "
        "manager, operator or bare loop, player.",
        "",
        *_rival(figures),
        f"{study['name']}: {study['source']}.",
        *_disturbed([*costs, *figures.bare, *figures.rival]),
    ]


def _live(figures: Figures) -> list[str]:
    if not figures.alive:
        return []
    runs = _each([cost.runs for cost in figures.alive], ",")
    cpu = _each([cost.controller_cpu_ms for cost in figures.alive], ".1f")
    writes = _each([cost.writes_mean for cost in figures.alive], ".1f")
    peaks = _each([cost.rss_peak_mb for cost in figures.alive], ".0f")
    further = _each(figures.memory_a_run(), ".0f")
    memory = f", {further} kB for each further run" if further else ""
    return [
        f"Live runs: {runs}, all alive before the first of them ends, since their first steps last long enough. A run "
        f"takes {cpu} ms of the operator's CPU and {writes} writes, and the operator {peaks} MB at the peak{memory}.",
        "",
    ]


def _fan_out(cost: FanOutCost | None) -> list[str]:
    if cost is None:
        return []
    return [
        f"Fan-out: {cost.items:,} items, {cost.parallelism} at once, by one Indexed Job: {cost.seconds:.0f} s, "
        f"{cost.writes} writes, {cost.cpu_seconds:.1f} s of the operator's CPU, its memory from {cost.rss_idle_mb:.0f} "
        f"to {cost.rss_peak_mb:.0f} MB, the run's status {cost.status_bytes:,} bytes.",
        "",
    ]


def _restart(cost: RestartCost) -> list[str]:
    first, jobs = cost.orderly, "all their Jobs and pods still there" if cost.kept else "their Jobs deleted"
    said = (
        f"Restart with {cost.finished:,} finished runs, {jobs}: {first.ready_seconds:.1f} s from the start of the "
        f"process until its caches are synced, {first.first_job_seconds:.1f} s until a run that was created in that "
        f"moment has its first Job; {first.rss_mb:.0f} MB then, {first.rss_peak_mb:.0f} MB at the peak."
    )
    if killed := cost.killed:
        said += (
            f" After SIGKILL, its Lease not given up: {killed.ready_seconds:.1f} s and {killed.first_job_seconds:.1f} "
            f"s, {killed.rss_peak_mb:.0f} MB at the peak. A container that starts again in its pod takes its own Lease "
            "up at once, and reads all again before it decides; another pod waits until the Lease has run out, 15 s."
        )
    return [said, ""]


def _secrets(cost: Cost, vault: VaultCost) -> list[str]:
    logins, requests, left = vault.logins / cost.runs, vault.requests / cost.runs, sum(vault.left.values())
    return [
        f"Secrets ({cost.load}, a real OpenBao): {logins:.2f} logins and {requests:.2f} requests to Vault a run "
        f"(login, read, revoke), {cost.controller_cpu_ms:.1f} ms of the operator's CPU a run, "
        f"{cost.rss_peak_mb:.0f} MB at the peak. {vault.taken_back_seconds:.1f} s after the last run's end there were "
        f"{left} tokens, Secrets and records left.",
        "",
    ]


def _rival(figures: Figures) -> list[str]:
    if not figures.rival:
        return []
    idle = max(cost.rss_idle_mb for cost in figures.rival)
    peak = max(figures.rival, key=lambda cost: cost.rss_peak_mb)
    return [
        f"{argo.NAME}: built and measured by the same command; default is a client of 20 requests a second and events "
        f"held back for 10 s, tuned `{' '.join(argo.TUNED.flags)}` and 1 s; its executor's own requests "
        f"are not played. Its controller's memory: {idle:.0f} MB idle, {peak.rss_peak_mb:.0f} MB at the peak of "
        f"{peak.load}.",
        "",
    ]


def _disturbed(costs: Sequence[Driven]) -> list[str]:
    share = max(cost.foreign_share for cost in costs)
    if share < FAIR:
        return []
    return ["", f"Disturbed: other processes took up to {share:.0%} of the machine meanwhile, so times are too long."]


def _seconds(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _each(values: Sequence[float], form: str) -> str:
    return " / ".join(format(value, form) for value in values)


def _or_dash(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value}{unit}"
