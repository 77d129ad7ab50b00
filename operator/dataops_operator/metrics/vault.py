"""What the operator counts of its dealings with Vault. Labels are bounded: servers are the administrator's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class VaultMetrics:
    """The metrics `dataops_vault_*`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them."""
        self.requests = Counter(
            "dataops_vault_requests_total",
            "Requests to Vault; code 0 stands for no answer.",
            ("server", "operation", "code"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "dataops_vault_request_seconds",
            "Time of one request to Vault.",
            ("server", "operation"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.logins = Counter("dataops_vault_logins_total", "Logins for runs.", ("server",), registry=registry)
        self.leases = Gauge(
            "dataops_vault_leases", "Runs and Environments that hold something of Vault's now.", registry=registry
        )
        self.overdue = Gauge(
            "dataops_vault_overdue_leases",
            "Those whose holder ended more than two minutes ago and from whom not all could be taken back.",
            registry=registry,
        )
        self.revocations = Counter(
            "dataops_vault_revocations_total",
            "Holders from whom all was taken back (Revoked), and tries that failed (Failed).",
            ("outcome",),
            registry=registry,
        )
        self.breaker_open = Gauge(
            "dataops_vault_breaker_open",
            "1 while a server is not asked, since it failed too often.",
            ("server",),
            registry=registry,
        )

    def breaker(self, server: str, is_open: bool) -> None:
        """Say whether a server is left alone."""
        self.breaker_open.labels(server).set(is_open)

    def count_request(self, server: str, operation: str, code: int, seconds: float) -> None:
        """Count one request to a server; code is the HTTP status, 0 without an answer."""
        self.requests.labels(server, operation, str(code)).inc()
        self.request_seconds.labels(server, operation).observe(seconds)
