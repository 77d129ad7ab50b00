"""The kinds that the operator talks about, and the paths at which the API server has them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API serves it.

    `group` is empty for the core group; `plural` is the name in paths and in RBAC rules.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What stands in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of a collection, an object or its subresource, percent-encoded.

        Args:
            namespace: None asks for the kind across all namespaces (lists and watches only).
            name: of one object; None for the collection.
            subresource: such as ``status``; needs a name.

        Raises:
            ValueError: for a name or namespace that would lead to another path than the one meant: names come
                out of users' objects, and an empty one would turn the delete of an object into that of all.
        """
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is not None and self.namespaced:
            path += f"/namespaces/{_segment(namespace, 'namespace')}"
        path += f"/{self.plural}"
        if name is None:
            return path
        if self.namespaced and namespace is None:
            raise ValueError(f"{self.kind} {name!r} needs a namespace")
        path += f"/{_segment(name, 'name')}"
        return f"{path}/{subresource}" if subresource else path


def _segment(value: str, what: str) -> str:
    if value in ("", ".", ".."):
        raise ValueError(f"{value!r} is not a {what} of an object")
    return quote(value, safe="")


ENVIRONMENTS = Resource("dataops.dev", "v1alpha1", "environments", "Environment")
STEP_TEMPLATES = Resource("dataops.dev", "v1alpha1", "steptemplates", "StepTemplate")
PIPELINES = Resource("dataops.dev", "v1alpha1", "pipelines", "Pipeline")
PIPELINE_RUNS = Resource("dataops.dev", "v1alpha1", "pipelineruns", "PipelineRun")
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
TOKENS = Resource("", "v1", "serviceaccounts/token", "TokenRequest")
"""As rights and metrics call it; requests go to the ServiceAccount."""
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
