"""The objects that a node cluster starts with: rights of its helpers and the storage class."""

from __future__ import annotations

from localcluster.api import Api, Object
from localcluster.volumes import CLASS, PROVISIONER

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_READ = ["get", "list", "watch"]

_RULES: dict[str, tuple[str, list[Object]]] = {
    "localcluster:dns": (
        "system:coredns",
        [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": _READ},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
        ],
    ),
    "localcluster:volumes": (
        "localcluster:volumes",
        [
            {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": _READ},
            {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": [*_READ, "create", "delete"]},
        ],
    ),
}


def apply(api: Api) -> None:
    """Put the objects there; what is there already stays as it is."""
    for name, (user, rules) in _RULES.items():
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
        api.apply(f"{_RBAC}/clusterroles/{name}", {**kind, "kind": "ClusterRole", "rules": rules})
        group = "rbac.authorization.k8s.io"
        binding = {
            **kind,
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        api.apply(f"{_RBAC}/clusterrolebindings/{name}", binding)
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    api.apply(f"/apis/storage.k8s.io/v1/storageclasses/{CLASS}", storage)
