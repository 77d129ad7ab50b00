"""The measured figures as a table beside the rival's, and in the README between its markers."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from tests.bench.load import STEPS, Cost
from tests.bench.vaulted import VaultCost

ARGO = Path(__file__).with_name("argo.json")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
FAIR = 0.1
"""The part of the machine that others may take before the table says so."""
WRITES_ALLOWED = 2 * STEPS + 3
WRITES_FUSED = 6
"""For a run whose steps share one pod, however many they are."""
WRITES_FOR_SECRETS = 3
"""The run's Secret, and its record twice: before the credential is used, and when it is at hand."""
REQUESTS_ALLOWED = 3
"""To Vault for a run with one secret: login, read, revoke."""
OWN_REQUESTS = 2
"""The operator's own logins in the time that a load takes."""
ASKED_AGAIN = 0.01
"""Share of the runs of which one request may be made again: Vault answered too late, and the first may not count."""
FUSED = ", fused"
"""Behind the name of a load whose runs have one pod each; the rival's figures for it are those without."""
RATES = (
    ("300 at once", True, 1200),
    ("300 at once, fused", True, 2400),
    ("300 at once", False, 80),
    ("300 at once, fused", False, 240),
)
"""Runs a minute that are budgeted, by load and whether the Job controller is tuned."""
WIDTH = 120
COLUMNS = (
    "load",
    "who",
    "runs a minute",
    "step delay p50 / p95 / p99",
    "CPU a run: controller",
    "CPU a run: API server",
    "writes (and events) a run",
)


def table(costs: Sequence[Cost]) -> str:
    """The Markdown for these costs, each load followed by the rival's figures for it."""
    argo = orjson.loads(ARGO.read_bytes())
    lines = [_row(*COLUMNS), "|" + "---|" * len(COLUMNS)]
    for load in dict.fromkeys(cost.load for cost in costs):
        lines += [_row(load, *_ours(cost)) for cost in costs if cost.load == load]
        plain = load.removesuffix(FUSED)
        theirs = [row for row in argo["rows"] if row["load"] == plain]
        if plain == load or plain not in {cost.load for cost in costs}:
            lines += [_row(load, *_theirs(argo["name"], row)) for row in theirs]
    notes = [textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in _notes(costs, argo)]
    return "\n".join([*lines, "", *_budgets(costs), "", *notes])


def _budgets(costs: Sequence[Cost]) -> list[str]:
    """The budgets of these loads, what was seen, and by how much one was missed."""
    by_load = {(cost.load, cost.tuned): cost for cost in costs}
    lines = [_row("budget", "at most / at least", "seen", ""), "|---|---|---|---|"]

    def line(what: str, bound: float, unit: str, seen: float, *, least: bool = False) -> None:
        missed = seen < bound if least else seen > bound
        by = abs(seen - bound) / bound if bound else 0
        told = f"missed by {by:.0%}" if missed else "kept"
        lines.append(_row(what, f"{'≥' if least else '≤'} {bound:,g}{unit}", f"{seen:,.{_digits(seen)}f}{unit}", told))

    if plain := [cost for cost in costs if not cost.vault and not cost.fused]:
        line(f"API writes, a run of {STEPS} steps", WRITES_ALLOWED, "", max(cost.writes_max for cost in plain))
    if fused := [cost for cost in costs if cost.fused]:
        line("API writes, the same in one pod", WRITES_FUSED, "", max(cost.writes_max for cost in fused))
    if (paced := by_load.get(("240 a minute", True))) is not None and not math.isnan(paced.delay_p50):
        line("step delay at 240 a minute, p50", 30, " ms", paced.delay_p50 * 1000)
        line("step delay at 240 a minute, p99", 100, " ms", paced.delay_p99 * 1000)
    for load, tuned, least in RATES:
        if (cost := by_load.get((load, tuned))) is not None:
            line(f"runs a minute, {load}, {_world(cost)}", least, "", cost.runs_per_minute, least=True)
    if (cost := by_load.get(("300 at once", True))) is not None:
        line("CPU of the operator, a run", 15, " ms", cost.operator_cpu_ms)
        line("CPU of the API server, a run: half of the rival's", 90, " ms", cost.api_cpu_ms)
    if plain:
        line("memory of the operator, idle", 80, " MB", max(cost.rss_idle_mb for cost in plain))
    line("writes after a restart, nothing having changed", 0, "", sum(sum(cost.idle_writes.values()) for cost in costs))
    return [*lines, *_bounded_by(by_load.get(("300 at once", True)))]


def _bounded_by(cost: Cost | None) -> list[str]:
    """Why so many runs a minute are no more: what they would take of the machine."""
    if cost is None or cost.runs_per_minute >= RATES[0][2]:
        return []
    cores = RATES[0][2] / 60 * (cost.api_cpu_ms + cost.operator_cpu_ms) / 1000
    text = (
        f"Runs a minute are bounded by the processors here: at {RATES[0][2]:,} a minute the API server and the operator"
        f" alone would take {cores:.1f} of the {os.cpu_count()} cores, which etcd, the Job controller and the player "
        "need, too."
    )
    return ["", textwrap.fill(text, WIDTH, break_on_hyphens=False)]


def _digits(value: float) -> int:
    return 1 if 0 < value < 100 and value != int(value) else 0


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


def missed(costs: Sequence[Cost]) -> list[str]:
    """The promises that are counts and were broken; times and sizes are reported alone."""
    found = []
    for cost in costs:
        where = f"{cost.load}, {_world(cost)}"
        if cost.failed:
            found.append(f"{where}: {cost.failed} of {cost.runs} runs failed")
        allowed = (WRITES_FUSED if cost.fused else WRITES_ALLOWED) + (WRITES_FOR_SECRETS if cost.vault else 0)
        if cost.writes_max > allowed:
            said = f"{cost.writes_max} writes for one run of {STEPS} steps"
            found.append(f"{where}: {said}, at most {allowed} are allowed")
        if cost.vault:
            found += [f"{where}: {said}" for said in _missed_in_vault(cost.runs, cost.vault)]
        if cost.idle_writes:
            said = f"written in {cost.idle_seconds:.0f} s after a restart: {cost.idle_writes}"
            found.append(f"{where}: {said}, though nothing had changed")
    return found


def _missed_in_vault(runs: int, vault: VaultCost) -> list[str]:
    found = []
    if vault.logins != runs:
        found.append(f"{vault.logins} logins for {runs} runs, one each is promised")
    if vault.requests > REQUESTS_ALLOWED * runs + OWN_REQUESTS + int(ASKED_AGAIN * runs):
        asked = f"{vault.requests} requests to Vault for {runs} runs"
        found.append(f"{asked}, {REQUESTS_ALLOWED} each are promised: {vault.by_path}")
    if left := {what: count for what, count in vault.left.items() if count}:
        found.append(f"left after {vault.taken_back_seconds:.0f} s: {left}")
    return found


def _ours(cost: Cost) -> tuple[str, ...]:
    delays = " / ".join(_seconds(value) for value in (cost.delay_p50, cost.delay_p95, cost.delay_p99))
    return (
        f"**DataOps operator**, {_world(cost)}",
        f"{cost.runs_per_minute:,.0f}",
        delays,
        f"{cost.operator_cpu_ms:.1f} ms",
        f"{cost.api_cpu_ms:.0f} ms",
        f"{cost.writes_mean:.1f} ({cost.events_per_run:.1f})",
    )


def _theirs(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{name}, {row['settings']}",
        f"{row['runs_per_minute']:,}",
        f"{_seconds(row['delay_p50'])} / - / {_seconds(row['delay_p99'])}",
        _or_dash(row["controller_cpu_ms"], " ms"),
        _or_dash(row["api_cpu_ms"], " ms"),
        "-" if row["writes"] is None else f"{row['writes']} ({row['events']})",
    )


def _notes(costs: Sequence[Cost], argo: dict[str, Any]) -> list[str]:
    plain = [cost for cost in costs if cost.vault is None and not cost.fused] or costs
    idle = max(cost.rss_idle_mb for cost in plain)
    peak = max(plain, key=lambda cost: cost.rss_peak_mb)
    per_run = f", {_slope(costs):.0f} kB a live run" if _slope(costs) else ""
    restart = max(cost.restart_seconds for cost in costs)
    writes = sum(sum(cost.idle_writes.values()) for cost in costs)
    return [
        f"Memory of the operator: {idle:.0f} MB idle, {peak.rss_peak_mb:.0f} MB at the peak of {peak.load}{per_run} "
        f"({argo['name']}: {argo['rss_idle_mb']} MB idle, {argo['rss_peak_mb']} MB at the peak of 500). "
        f"Restart to ready: {restart:.1f} s. Writes after a restart, nothing having changed: {writes}.",
        "",
        *(line for cost in costs if cost.vault for line in _secrets(cost, cost.vault)),
        f"A run is {STEPS} one-container steps in sequence, each pod Succeeded 1.0 s after it was created (so 3.0 s is "
        "the floor); fused, its steps share one pod that lasts the sum of them. Step delay: from the answer to the "
        "write that made a step's pod Succeeded to the ADDED event of the next step's pod. Stock: the Job controller's "
        "own limit of 20 requests a second; tuned: "
        "`--kube-api-qps=500 --kube-api-burst=500 --concurrent-job-syncs=32`. "
        f"{os.cpu_count()} cores for all: etcd, API server with audit log, controller manager, operator, player.",
        "",
        f"{argo['name']}: {argo['source']}.",
        *_disturbed(costs),
    ]


def _secrets(cost: Cost, vault: VaultCost) -> list[str]:
    logins, requests, left = vault.logins / cost.runs, vault.requests / cost.runs, sum(vault.left.values())
    return [
        f"Secrets ({cost.load}, a real OpenBao): {logins:.2f} logins and {requests:.2f} requests to Vault a run "
        f"(login, read, revoke), {cost.operator_cpu_ms:.1f} ms of the operator's CPU a run, {cost.rss_peak_mb:.0f} MB "
        f"at the peak. {vault.taken_back_seconds:.1f} s after the last run's end there were {left} tokens, Secrets and "
        "records left.",
        "",
    ]


def _disturbed(costs: Sequence[Cost]) -> list[str]:
    share = max(cost.foreign_share for cost in costs)
    if share < FAIR:
        return []
    return ["", f"Disturbed: other processes took up to {share:.0%} of the machine meanwhile, so times are too long."]


def _slope(costs: Sequence[Cost]) -> float:
    """Memory a live run takes, kB: from the peaks of the smallest and the largest load at once."""
    plain = (cost for cost in costs if cost.load.endswith(" at once") and cost.tuned)
    bulk = sorted(plain, key=lambda cost: cost.runs)
    if len(bulk) < 2:
        return 0.0
    return (bulk[-1].rss_peak_mb - bulk[0].rss_peak_mb) * 1024 / (bulk[-1].runs - bulk[0].runs)


def _world(cost: Cost) -> str:
    return "Job controller tuned" if cost.tuned else "Job controller stock"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _seconds(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _or_dash(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value}{unit}"
