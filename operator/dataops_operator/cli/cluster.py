"""The cluster as a kubeconfig names it: the official client, its answers as plain JSON, its refusals as one sentence.

Answers are not read into the client's models: custom resources have none, and a list of hundreds of runs would take
seconds. The client's package takes most of a second to load, so it is loaded when a command first needs a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from ..api.base import API_VERSION
from .errors import CliError, Exit, refused

Object = dict[str, Any]

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and between two parts of an answer."""
PAGE: Final = 500
"""Objects of one answer to a list; what kubectl asks for, too."""
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object: where the API server has it, and what people call it."""

    api_version: str
    plural: str
    word: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Its address; a namespace of None means all of them, or none for kinds without."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [f"namespaces/{quote(namespace, safe='')}"] if namespace else []
        parts += [self.plural, quote(name, safe=""), subresource]
        return "/".join([root, *filter(None, parts)])

    def told(self, namespace: str | None, name: str = "") -> str:
        """It in words, such as `run flights-1 in namespace analytics`."""
        place = f" in namespace {namespace}" if namespace else ""
        return f"{self.word} {name}{place}" if name else f"{self.plural}{place}"


PIPELINES: Final = Kind(API_VERSION, "pipelines", "pipeline")
RUNS: Final = Kind(API_VERSION, "pipelineruns", "run")
ENVIRONMENTS: Final = Kind(API_VERSION, "environments", "environment")
REVISIONS: Final = Kind("apps/v1", "controllerrevisions", "revision")
NAMESPACES: Final = Kind("v1", "namespaces", "namespace")
JOBS: Final = Kind("batch/v1", "jobs", "job")
PODS: Final = Kind("v1", "pods", "pod")
SECRETS: Final = Kind("v1", "secrets", "secret")


class Cluster:
    """A cluster, and the namespace that a command speaks of."""

    def __init__(self, client: Any, namespace: str) -> None:
        """Talk to a cluster.

        Args:
            client: the official client's ApiClient.
            namespace: for what is named without one.
        """
        self._client = client
        self.namespace = namespace

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """One object."""
        return self._json("GET", kind.path(namespace, name), kind.told(namespace, name))

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, None where there is none."""
        try:
            return self.get(kind, namespace, name)
        except CliError as error:
            if error.status == 404 and not error.no_such_kind:
                return None
            raise

    def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "", table: bool = False
    ) -> Iterator[Object]:
        """A list, a page at a time.

        Args:
            kind: of what.
            namespace: where; None for all.
            labels: label selector.
            fields: field selector.
            table: whether to have the API server's own columns instead of the objects, which for runs of hundreds of
                steps are a thousandth of the bytes.
        """
        query = {"limit": str(PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        accept = TABLE if table else "application/json"
        while True:
            page = self._json("GET", kind.path(namespace), kind.told(namespace), query=query, accept=accept)
            yield page
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                return

    def list(self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = "") -> list[Object]:
        """The objects of a kind."""
        return [one for page in self.pages(kind, namespace, labels=labels, fields=fields) for one in page["items"]]

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Create an object."""
        what = kind.told(namespace, body["metadata"]["name"])
        return self._json("POST", kind.path(namespace), what, body=body)

    def whoami(self) -> tuple[str, tuple[str, ...]]:
        """Who asks, and in which groups, as the API server knows them; nobody where it does not say."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            told = self._json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "who you are", body=body)
        except CliError:
            return "", ()
        user = told["status"]["userInfo"]
        return user.get("username") or "", tuple(user.get("groups") or ())

    def patch(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        """Change an object by a merge patch."""
        what = kind.told(namespace, name)
        return self._json("PATCH", kind.path(namespace, name), what, body=body, content_type=MERGE_PATCH)

    def watch(self, kind: Kind, namespace: str, name: str, version: str, seconds: int) -> Iterator[Object]:
        """Each event of one object after a resource version, until the API server ends the watch.

        Raises:
            CliError: it was refused; its status is 410 where that version is too old.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        what = kind.told(namespace, name)
        for line in self._lines(kind.path(namespace), what, query, (TIMEOUT[0], seconds + 10.0)):
            event: Object = orjson.loads(line)
            if event["type"] == "ERROR":
                told = event["object"]
                raise CliError(f"{what}: {told.get('message', 'the watch ended')}", status=int(told.get("code") or 500))
            yield event

    def log(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> Iterator[bytes]:
        """The lines of a container's log, each with its end where it has one."""
        query = {"container": container} | ({"follow": "true"} if follow else {})
        what = f"log of {container} in pod {pod}"
        timeout = (TIMEOUT[0], 24 * 3600.0) if follow else TIMEOUT
        return self._lines(PODS.path(namespace, pod, "log"), what, query, timeout)

    def _lines(self, path: str, what: str, query: Mapping[str, str], timeout: tuple[float, float]) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        answer = self._open("GET", path, what, query=query, accept="*/*", timeout=timeout)
        rest = b""
        try:
            for chunk in answer.stream(amt=None if answer.chunked else 65536):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line + b"\n" for line in whole)
            if rest:
                yield rest
        except HTTPError as error:
            raise _unreachable(error) from None
        finally:
            answer.close()

    def _json(self, method: str, path: str, what: str, **more: Any) -> Object:
        from urllib3.exceptions import HTTPError

        answer = self._open(method, path, what, **more)
        try:
            found: Object = orjson.loads(answer.read())
        except HTTPError as error:
            raise _unreachable(error) from None
        return found

    def _open(
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
        timeout: tuple[float, float] = TIMEOUT,
    ) -> Any:
        """The answer to a request, not yet read.

        Raises:
            CliError: the API server refused it, or did not answer.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            method, url, headers, body, _ = self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(method, url, headers, body, _request_timeout=timeout).response
            if answer.status >= 400:
                raise refused(answer.status, answer.reason or "", answer.read(), what)
        except ApiException as error:  # the client's word for a certificate that it does not trust
            raise _unreachable(error.reason) from None
        except HTTPError as error:
            raise _unreachable(error) from None
        return answer


def _unreachable(error: object) -> CliError:
    text = " ".join(str(error).split())
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text = "its certificate is not one that the kubeconfig trusts (certificate-authority-data)"
    return CliError(f"the API server does not answer: {text[:300]}", Exit.UNREACHABLE)
