"""The kinds that tests touch, and the labels the operator puts on what it makes."""

from __future__ import annotations

from dataclasses import dataclass

RUN_UID = "dataops.dev/run-uid"
ENVIRONMENT_UID = "dataops.dev/environment-uid"
RUN = "dataops.dev/run"
PIPELINE = "dataops.dev/pipeline"
STEP = "dataops.dev/step"
ITEM = "dataops.dev/item"
INDEX = "batch.kubernetes.io/job-completion-index"
"""On the pods of Indexed Jobs, by the Job controller."""
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
ATTEMPT = "dataops.dev/attempt"
GOES_ON = "dataops.dev/goes-on"
COLLECTED = 75.0
"""Seconds in which the garbage collector has taken what a deleted run owned: it looks for new kinds every 30 s."""


@dataclass(frozen=True)
class Kind:
    """One kind of object: where the API server serves it."""

    name: str
    group_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The request path of a collection (no name), an object, or an object's subresource."""
        root = "/api/v1" if self.group_version == "v1" else f"/apis/{self.group_version}"
        parts = [root]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACES = Kind("Namespace", "v1", "namespaces", namespaced=False)
PODS = Kind("Pod", "v1", "pods")
SECRETS = Kind("Secret", "v1", "secrets")
CONFIGMAPS = Kind("ConfigMap", "v1", "configmaps")
CLAIMS = Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims")
SERVICE_ACCOUNTS = Kind("ServiceAccount", "v1", "serviceaccounts")
EVENTS = Kind("Event", "v1", "events")
QUOTAS = Kind("ResourceQuota", "v1", "resourcequotas")
JOBS = Kind("Job", "batch/v1", "jobs")
REVISIONS = Kind("ControllerRevision", "apps/v1", "controllerrevisions")
PRIORITIES = Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", namespaced=False)
LEASES = Kind("Lease", "coordination.k8s.io/v1", "leases")
CRDS = Kind("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False)
LIMITS = Kind("LimitRange", "v1", "limitranges")
POLICIES = Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
BINDINGS = Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings")
ENVIRONMENTS = Kind("Environment", "dataops.dev/v1alpha1", "environments")
TEMPLATES = Kind("StepTemplate", "dataops.dev/v1alpha1", "steptemplates")
PIPELINES = Kind("Pipeline", "dataops.dev/v1alpha1", "pipelines")
RUNS = Kind("PipelineRun", "dataops.dev/v1alpha1", "pipelineruns")
