"""What was measured, held against what is promised."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import argo
from tests.bench.argo import ArgoCost
from tests.bench.driven import Driven
from tests.bench.fanout import FanOutCost
from tests.bench.load import Cost
from tests.bench.restart import RestartCost
from tests.bench.runs import STEPS
from tests.bench.vaulted import VaultCost

WRITES_ALLOWED = 2 * STEPS + 3
WRITES_FUSED = 6
"""For a run whose steps share one pod, however many they are."""
WRITES_BARE, WRITES_BARE_FUSED = 2 * STEPS + 1, 3
"""Of a bare loop, for a run: each Job, where the run then stands, and its end."""
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
FLAT = 1.5
"""How many times what a run costs among few runs that are alive it may cost among many, and the other way round."""
STATUS_LIMIT = 4096
"""Bytes of the status of a run whose one step is a fan-out, without outputs."""
FAN_OUT_WRITES = 10
FAN_OUT_WRITES_A_SECOND = 2.5
"""Status writes: each tells of the ends within half a second."""
WIDTH = 120


@dataclass(frozen=True)
class Figures:
    """All that was measured."""

    costs: Sequence[Cost]
    fan_out: FanOutCost | None = None
    restarts: Sequence[RestartCost] = ()
    bare: Sequence[Driven] = ()
    """Loads of the same names, with a bare loop in the operator's place."""
    rival: Sequence[ArgoCost] = ()
    """Loads of the same names, with the rival in the operator's place."""

    @property
    def alive(self) -> list[Cost]:
        """The loads whose runs were all alive at once, the smallest first."""
        return sorted((cost for cost in self.costs if cost.alive), key=lambda cost: cost.runs)

    def memory_a_run(self) -> list[float]:
        """Memory that each further live run takes, kB: from the peak of one load of live runs to that of the next."""
        return [
            (many.rss_peak_mb - few.rss_peak_mb) * 1024 / (many.runs - few.runs)
            for few, many in itertools.pairwise(self.alive)
        ]

    def shares(self) -> dict[str, float]:
        """What part of the runs a minute that a bare loop reaches the operator does, by load."""
        ours = {(cost.load, cost.tuned): cost.runs_per_minute for cost in self.costs}
        return {bare.load: ours[bare.load, bare.tuned] / bare.runs_per_minute for bare in self.bare}

    def against(self, load: str) -> tuple[Cost, ArgoCost] | None:
        """What a load cost the operator, Job controller tuned, and the load without its shared pods the tuned rival."""
        ours = {cost.load: cost for cost in self.costs if cost.tuned}
        theirs = {cost.load: cost for cost in self.rival if cost.settings == argo.TUNED.name}
        plain = load.removesuffix(FUSED)
        return (ours[load], theirs[plain]) if load in ours and plain in theirs else None


def lines(figures: Figures) -> list[str]:
    """The budgets of what was measured, what was seen, and by how much one was missed; Markdown."""
    costs = figures.costs
    by_load = {(cost.load, cost.tuned): cost for cost in costs}
    found = [row("budget", "at most / at least", "seen", ""), "|---|---|---|---|"]
    if plain := [cost for cost in costs if not cost.vault and not cost.fused]:
        found.append(_line(f"API writes, a run of {STEPS} steps", WRITES_ALLOWED, "", max(c.writes_max for c in plain)))
    if fused := [cost for cost in costs if cost.fused]:
        found.append(_line("API writes, the same in one pod", WRITES_FUSED, "", max(c.writes_max for c in fused)))
    if (paced := by_load.get(("240 a minute", True))) is not None and not math.isnan(paced.delay_p50):
        found.append(_line("step delay at 240 a minute, p50", 30, " ms", paced.delay_p50 * 1000))
        found.append(_line("step delay at 240 a minute, p99", 100, " ms", paced.delay_p99 * 1000))
    for load, tuned, least in RATES:
        if (cost := by_load.get((load, tuned))) is not None:
            what = f"runs a minute, {load}, {world(cost)}"
            found.append(_line(what, least, "", cost.runs_per_minute, least=True))
    if (cost := by_load.get(("300 at once", True))) is not None:
        found.append(_line("CPU of the operator, a run", 15, " ms", cost.controller_cpu_ms))
        found.append(_line("CPU of the API server, a run: half of the rival's", 90, " ms", cost.api_cpu_ms))
    if plain:
        found.append(_line("memory of the operator, idle", 80, " MB", max(cost.rss_idle_mb for cost in plain)))
    found += [*_of_live_runs(figures), *_of_a_fan_out(figures.fan_out)]
    found += [line for cost in figures.restarts for line in _of_a_restart(cost)]
    for_nothing = sum(sum(cost.idle_writes.values()) for cost in costs)
    found.append(_line("writes after a restart, nothing having changed", 0, "", for_nothing))
    return [*found, *_beside_a_bare_loop(figures.shares()), *_beside_the_rival(figures)]


def _of_live_runs(figures: Figures) -> Iterator[str]:
    """What a run costs among few others and among many: the most over the least."""
    if len(figures.alive) < 2:
        return
    many = f"{' / '.join(f'{cost.runs:,}' for cost in figures.alive)} live runs, most over least"
    yield _line(
        f"CPU of the operator, a run of {many}", FLAT, "", _spread([c.controller_cpu_ms for c in figures.alive])
    )
    yield _line(f"API writes, a run of {many}", FLAT, "", _spread([cost.writes_mean for cost in figures.alive]))
    memory = figures.memory_a_run()
    if len(memory) > 1:
        yield _line(f"memory, a further run of {many}", FLAT, "", _spread(memory))
    yield _line("memory, a further live run", 60, " kB", max(memory))


def _of_a_fan_out(cost: FanOutCost | None) -> Iterator[str]:
    if cost is not None:
        what = f"a fan-out of {cost.items:,}"
        yield _line(f"size of the status, {what}", STATUS_LIMIT, " bytes", cost.status_bytes)
        yield _line(f"API writes, {what} in {cost.seconds:.0f} s", int(_fan_out_writes(cost)), "", cost.writes)


def _of_a_restart(cost: RestartCost) -> Iterator[str]:
    for what, start in cost.starts():
        yield _line(f"{what}, until ready", 10, " s", start.ready_seconds)
        yield _line(f"{what}, until the first Job of a new one", 10, " s", start.first_job_seconds)
        yield _line(f"{what}, memory of the operator", 250, " MB", start.rss_peak_mb)
        yield _line(f"{what}, API writes on them", 0, "", start.writes)


def _spread(values: Sequence[float]) -> float:
    """The most over the least; infinity where the least is nothing."""
    return max(values) / min(values) if min(values) > 0 else math.inf


def _line(what: str, bound: float, unit: str, seen: float, *, least: bool = False) -> str:
    missed = seen < bound if least else seen > bound
    by = abs(seen - bound) / bound if bound else 0
    told = f"missed by {by:.0%}" if missed else "kept"
    return row(what, f"{'≥' if least else '≤'} {bound:,g}{unit}", f"{seen:,.{_digits(seen)}f}{unit}", told)


def _digits(value: float) -> int:
    if not 0 < value < 100 or value == int(value):
        return 0
    return 2 if value < 10 else 1


def _beside_a_bare_loop(shares: Mapping[str, float]) -> list[str]:
    """How much of what is possible here and now the operator reaches, which no other hour changes."""
    if not shares:
        return []
    seen = " and ".join(f"{share:.0%} ({load})" for load, share in shares.items())
    text = (
        "A bare loop is a process that makes the same Jobs as the operator and writes where a run stands, and does "
        f"nothing else: no validation, no Events, no retries, no metrics. The operator reaches {seen} of the runs a "
        "minute that a bare loop reaches on the same machine in the same minutes. Machines that are shared differ by "
        "half from hour to hour, and from one measurement to the next by a quarter."
    )
    return ["", textwrap.fill(text, WIDTH, break_on_hyphens=False)]


def _beside_the_rival(figures: Figures) -> list[str]:
    """How the operator stands to the rival here and now, which no other hour changes either."""
    told = []
    for load in ("300 at once", f"300 at once{FUSED}"):
        if (both := figures.against(load)) is not None:
            ours, theirs = both
            faster, cheaper = ours.runs_per_minute / theirs.runs_per_minute, ours.api_cpu_ms / theirs.api_cpu_ms
            told.append(f"{faster:.1f} times the runs a minute for {cheaper:.0%} of the API server's CPU ({load})")
    if (paced := figures.against("240 a minute")) is not None:
        ours, theirs = paced
        told.append(
            f"a step delay, p99, of {ours.delay_p99 * 1000:.0f} ms where it has {theirs.delay_p99 * 1000:,.0f} ms "
            f"({ours.load})"
        )
    if not told:
        return []
    text = f"Beside {argo.NAME}, tuned, on the same machine in the same minutes: {'; '.join(told)}."
    return ["", textwrap.fill(text, WIDTH, break_on_hyphens=False)]


def missed(figures: Figures) -> list[str]:
    """The promises that are counts and were broken; times and sizes of processes are reported alone."""
    found = []
    for cost in figures.costs:
        where = f"{cost.load}, {world(cost)}"
        if cost.failed:
            found.append(f"{where}: {cost.failed} of {cost.runs} runs failed")
        allowed = (WRITES_FUSED if cost.fused else WRITES_ALLOWED) + (WRITES_FOR_SECRETS if cost.vault else 0)
        if cost.writes_max > allowed:
            said = f"{cost.writes_max} writes for one run of {STEPS} steps"
            found.append(f"{where}: {said}, at most {allowed} are allowed")
        if cost.vault:
            found += [f"{where}: {said}" for said in _missed_in_vault(cost.runs, cost.vault)]
        if cost.alive not in (0, cost.runs):
            said = f"only {cost.alive} of {cost.runs} runs were alive at once"
            found.append(f"{where}: {said}, so that this is no measure of so many: hold them longer")
        if cost.idle_writes:
            said = f"written in {cost.idle_seconds:.0f} s after a restart: {cost.idle_writes}"
            found.append(f"{where}: {said}, though nothing had changed")
    found += _missed_by_a_fan_out(figures.fan_out)
    found += [said for cost in figures.restarts for said in _missed_by_a_restart(cost)]
    found += [said for cost in figures.bare for said in _no_yardstick(cost)]
    return found + [
        f"{one.load}, {argo.NAME}, {one.settings}: {one.failed} of {one.runs} runs failed, so that this is no measure"
        for one in figures.rival
        if one.failed
    ]


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


def _missed_by_a_fan_out(cost: FanOutCost | None) -> Iterator[str]:
    if cost is None:
        return
    where = f"a fan-out of {cost.items:,}"
    if not cost.succeeded:
        yield f"{where}: the run failed"
    if cost.status_bytes > STATUS_LIMIT:
        yield f"{where}: its status has {cost.status_bytes:,} bytes, at most {STATUS_LIMIT:,} are allowed"
    if cost.writes > (allowed := _fan_out_writes(cost)):
        yield f"{where}: {cost.writes} writes in {cost.seconds:.0f} s, at most {allowed:.0f} are allowed"


def _missed_by_a_restart(cost: RestartCost) -> Iterator[str]:
    for what, start in cost.starts():
        if start.writes:
            yield f"{what}: {start.writes} writes on runs that had ended"


def _no_yardstick(cost: Driven) -> Iterator[str]:
    """Why a bare loop is none: it did not do what a loop must, or more."""
    where, exact = f"{cost.load}, a bare loop", WRITES_BARE_FUSED if cost.fused else WRITES_BARE
    if cost.failed:
        yield f"{where}: {cost.failed} of {cost.runs} runs failed"
    if not cost.writes_mean == cost.writes_max == exact:
        said = f"{cost.writes_mean:.2f} writes a run, {cost.writes_max} at the most"
        yield f"{where}: {said}, where {exact} are needed: this is no yardstick"


def _fan_out_writes(cost: FanOutCost) -> float:
    return FAN_OUT_WRITES + FAN_OUT_WRITES_A_SECOND * cost.seconds


def world(cost: Driven) -> str:
    """The Job controller that a load had."""
    return "Job controller tuned" if cost.tuned else "Job controller stock"


def row(*cells: str) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
