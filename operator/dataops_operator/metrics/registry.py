"""The operator's metrics. Labels are bounded: a pipeline, an environment, a phase; never a run.

An environment is `<project>/<name>`, since two projects may each have their prod; the namespace stands for one where a
run belongs to none.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .vault import VaultMetrics

_LONG = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_SHORT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RunKind = tuple[str, str, str]
"""Pipeline, environment, phase."""
WaitKind = tuple[str, str]
"""Environment, reason."""


class RunTally(Collector):
    """Runs by what they are: counted as they change, so that a scrape costs no walk."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...]) -> None:
        """Begin at nothing.

        Args:
            name: of the gauge.
            help_text: what it counts.
            labels: what tells the kinds of runs apart.
        """
        self._name, self._help, self._labels = name, help_text, labels
        self._counts: Tally[tuple[str, ...]] = Tally()

    def moved(self, before: tuple[str, ...] | None, after: tuple[str, ...] | None) -> None:
        """Count a run out of one kind and into another; None where it was not, or is not, there."""
        if before == after:
            return
        if before is not None:
            self._counts[before] -= 1
            if not self._counts[before]:
                del self._counts[before]
        if after is not None:
            self._counts[after] += 1

    def collect(self) -> Iterator[Metric]:
        """Give the gauge."""
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Metrics:
    """Everything that the operator counts, in one registry."""

    def __init__(self) -> None:
        """Register the metrics in a fresh registry."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.runs = RunTally(
            "dataops_runs", "Runs that exist, by where they stand.", ("pipeline", "environment", "phase")
        )
        self.registry.register(self.runs)
        self.waiting = RunTally(
            "dataops_runs_waiting", "Runs that wait, by what they wait for first.", ("environment", "reason")
        )
        self.registry.register(self.waiting)
        self.run_duration = Histogram(
            "dataops_run_duration_seconds",
            "From a run's acceptance to its end.",
            ("pipeline", "environment", "phase"),
            buckets=_LONG,
            registry=self.registry,
        )
        self.step_duration = Histogram(
            "dataops_step_duration_seconds",
            "From the start to the end of a step's last attempt.",
            ("pipeline", "environment", "phase"),
            buckets=_LONG,
            registry=self.registry,
        )
        self.step_retries = Counter(
            "dataops_step_retries_total",
            "Attempts that failed and are tried again, by why they failed.",
            ("pipeline", "environment", "reason"),
            registry=self.registry,
        )
        self.cache_hits = Counter(
            "dataops_step_cache_hits_total",
            "Steps that were not run, since an earlier run had done the same.",
            ("pipeline", "environment"),
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            "dataops_queue_wait_seconds",
            "From a run's creation to its acceptance.",
            ("pipeline", "environment"),
            buckets=(*_SHORT, 30, 60, 300, 1800, 7200),
            registry=self.registry,
        )
        self.runs_deleted = Counter(
            "dataops_runs_deleted_total",
            "Finished runs that were deleted as their pipeline's history has it, by how they ended and why.",
            ("pipeline", "environment", "phase", "reason"),
            registry=self.registry,
        )
        self.revisions_deleted = Counter(
            "dataops_revisions_deleted_total",
            "Revisions that were deleted since nobody needs them, by the kind of what they are of.",
            ("kind",),
            registry=self.registry,
        )
        self.transition = Histogram(
            "dataops_transition_seconds",
            "From the news that a step's pod ended to the creation of the next step's Job.",
            buckets=_SHORT,
            registry=self.registry,
        )
        self.reconciles = Counter(
            "dataops_reconcile_total", "Reconciles by outcome.", ("kind", "result"), registry=self.registry
        )
        self.reconcile_seconds = Histogram(
            "dataops_reconcile_seconds", "Time of one reconcile.", ("kind",), buckets=_SHORT, registry=self.registry
        )
        self.reconcile_queue_depth = Gauge(
            "dataops_reconcile_queue_depth", "Objects that wait to be reconciled.", registry=self.registry
        )
        self.reconcile_queue_seconds = Histogram(
            "dataops_reconcile_queue_seconds",
            "Time that an object waited to be reconciled.",
            buckets=_SHORT,
            registry=self.registry,
        )
        self.api_requests = Counter(
            "dataops_api_requests_total",
            "Requests to the API server; code 0 stands for no answer.",
            ("verb", "resource", "code"),
            registry=self.registry,
        )
        self.results = Counter(
            "dataops_results_total",
            "Results that pods handed in, by the answer's HTTP status.",
            ("code",),
            registry=self.registry,
        )
        self.vault = VaultMetrics(self.registry)
        self.leader = Gauge("dataops_leader", "1 while this replica leads, else 0.", registry=self.registry)

    @contextmanager
    def reconciling(self, kind: str) -> Iterator[None]:
        """Count one reconcile, and how long it took."""
        begun, result = time.perf_counter(), "error"
        try:
            yield
            result = "success"
        finally:
            self.reconciles.labels(kind, result).inc()
            self.reconcile_seconds.labels(kind).observe(time.perf_counter() - begun)

    def count_request(self, verb: str, resource: str, status: int, _seconds: float) -> None:
        """Count one request to the API server."""
        self.api_requests.labels(verb, resource, str(status)).inc()
