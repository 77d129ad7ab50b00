"""The throw-away Vault (OpenBao) and PostgreSQL of examples/platform, as their administrators use them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence

from tests.e2e.site import PLATFORM, Site

AUDIENCE = "vault"
CANARIES: set[str] = set()
"""Every value that tests have put into Vault: looked for where it must not be, after each of them."""
ACCESSORS = """
import json, pathlib, sys, urllib.request

def call(method, path, body=None):
    token = pathlib.Path("/tmp/.vault-token").read_text()
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request("http://127.0.0.1:8200/v1/" + path, data, {"X-Vault-Token": token}, method=method)
    try:
        return json.load(urllib.request.urlopen(request))["data"]
    except urllib.error.HTTPError:  # it ended meanwhile
        return {}

found = []
for accessor in call("LIST", "auth/token/accessors")["keys"]:
    meta = call("POST", "auth/token/lookup-accessor", {"accessor": accessor}).get("meta") or {}
    if meta.get("service_account_namespace") == sys.argv[1]:
        found.append(accessor)
print(json.dumps(found))
"""


class Platform:
    """Both servers; what a test sets up carries the test's own name, since all share them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def apply(self) -> None:
        """Apply the servers."""
        self._site.kubectl("apply", "-k", str(PLATFORM))

    def wait(self) -> None:
        """Wait until they are set up."""
        for namespace, server in (("vault", "openbao"), ("postgres", "postgres")):
            words = ("rollout", "status", f"deployment/{server}", "-n", namespace, "--timeout=180s")
            self._site.kubectl(*words, within=200)

    # Vault.

    def bao(self, *words: str, given: str | None = None) -> str:
        """What `bao` printed, as root."""
        return self._inside("bao", *words, given=given)

    def admit(self, role: str, namespaces: Sequence[str], *rules: str) -> None:
        """Make a role that the runners of these namespaces log in with.

        Args:
            role: its name, and its policy's.
            namespaces: names, or patterns of names such as `x-*`.
            rules: paths that may be read (`secret/data/x/*`), or written where they begin with `+`.
        """
        verbs = {True: '"update"', False: '"read"'}
        text = "\n".join(
            f'path "{rule.removeprefix("+")}" {{ capabilities = [{verbs[rule.startswith("+")]}] }}' for rule in rules
        )
        self.bao("policy", "write", role, "-", given=text)
        self.bao(
            "write", f"auth/kubernetes/role/{role}", f"audience={AUDIENCE}", f"token_policies={role}", "token_ttl=2m",
            "bound_service_account_names=dataops-runner", f"bound_service_account_namespaces={','.join(namespaces)}",
        )  # fmt: skip

    def put(self, path: str, **values: str) -> None:
        """Write a key-value secret (version 2), whose values are canaries from now on."""
        CANARIES.update(values.values())
        self.bao("kv", "put", "-mount=secret", path, "-", given=json.dumps(values))

    def version(self, path: str) -> int:
        """The latest version of a key-value secret."""
        said = json.loads(self.bao("kv", "metadata", "get", "-mount=secret", "-format=json", path))
        return int(said["data"]["current_version"])

    def leases(self, prefix: str = "database/creds/flights-loader") -> list[str]:
        """Ids of the leases below a prefix."""
        listed = self._listed("sys/leases/lookup/" + prefix)
        return [f"{prefix}/{one}" for one in listed]

    def accessors(self, namespace: str) -> list[str]:
        """Accessors of the tokens that runners of a namespace hold."""
        found: list[str] = json.loads(self._inside("python3", "-c", ACCESSORS, namespace))
        return found

    def logins(self, namespace: str) -> int:
        """How often runners of a namespace have logged in, as the server's own log of requests tells."""
        words = (
            'grep \'"type":"response"\' /tmp/audit.log | grep -F \'"path":"auth/kubernetes/login"\''
            f' | grep -cF \'"service_account_namespace":"{namespace}"\' || true'
        )
        return int(self._inside("sh", "-c", words))

    def seal(self) -> None:
        """Seal it: it answers everything with 503."""
        self.bao("operator", "seal")

    def unseal(self) -> None:
        """Take the seal off; what it kept in memory is there again."""
        secret = self._site.read("secret", "openbao-dev-root", "-n", "vault")
        self.bao("operator", "unseal", base64.b64decode(secret["data"]["unseal-key"]).decode())

    def _listed(self, path: str) -> list[str]:
        return list(json.loads(self._inside("sh", "-c", f"bao list -format=json {path} || true")) or ())

    def _inside(self, *words: str, given: str | None = None) -> str:
        return self._site.kubectl("exec", "-i", "-n", "vault", "deploy/openbao", "--", *words, given=given)

    # PostgreSQL.

    def sql(self, statement: str, database: str = "flights") -> list[list[str]]:
        """Rows that the database gives its administrator."""
        words = ("psql", "-qAt", "-F\t", "-d", database, "-c", statement)
        said = self._site.kubectl("exec", "-n", "postgres", "deploy/postgres", "--", *words)
        return [line.split("\t") for line in said.splitlines()]

    def schemas(self) -> list[str]:
        """Names of the schemas that are not PostgreSQL's own."""
        rows = self.sql("select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)' order by 1")
        return [row[0] for row in rows]

    def has_login(self, digest: str) -> bool:
        """Whether there is a login whose name has this MD5: tests learn no name that Vault made."""
        return self.sql(f"select count(*) from pg_roles where md5(rolname) = '{digest}'") == [["1"]]

    def gone_after(self, digest: str, within: float) -> float:
        """Wait until a login is gone; the seconds it took.

        Raises:
            AssertionError: it is still there.
        """
        began = time.monotonic()
        while self.has_login(digest):
            assert time.monotonic() - began < within, f"the login is still in PostgreSQL after {within:.0f} s"
            time.sleep(0.3)
        return time.monotonic() - began
