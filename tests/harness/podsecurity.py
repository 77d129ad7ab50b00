"""Pod Security "restricted", rule by rule, and what else a pod of ours never is.

Source: Kubernetes' Pod Security Standards, levels baseline and restricted (kubernetes.io/docs/concepts/security/
pod-security-standards), as of 1.34. An API server enforces the same on pods; this says which rule, for pods that no API
server has seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]

VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
)
POD_FIELDS = frozenset(
    """restartPolicy serviceAccountName automountServiceAccountToken enableServiceLinks securityContext containers
    initContainers volumes activeDeadlineSeconds nodeSelector tolerations imagePullSecrets affinity
    topologySpreadConstraints priorityClassName terminationGracePeriodSeconds""".split()  # noqa: SIM905
)
"""Every field that a pod of ours may have; anything else, such as hostNetwork or nodeName, no user brought in."""
CONTAINER_FIELDS = frozenset(
    """name image imagePullPolicy command args env resources volumeMounts securityContext terminationMessagePath
    terminationMessagePolicy workingDir ports startupProbe livenessProbe readinessProbe""".split()  # noqa: SIM905
)


def breaches(pod: Pod) -> Iterator[str]:
    """What a pod's spec breaks, each with its path; nothing for one that is restricted."""
    context = pod.get("securityContext") or {}
    for field in pod.keys() - POD_FIELDS:
        yield f"{field}: not a field of our pods"
    if (context.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "securityContext.seccompProfile: neither RuntimeDefault nor Localhost"
    for field in context.keys() & {"seLinuxOptions", "windowsOptions", "sysctls", "appArmorProfile"}:
        yield f"securityContext.{field}: not ours to set"
    for index, volume in enumerate(pod.get("volumes") or ()):
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volumes[{index}]: {kind} is not allowed"
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(kind) or ()):
            for what in _container(container, context):
                yield f"{kind}[{index}].{what}"


def _container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    for field in container.keys() - CONTAINER_FIELDS:
        yield f"{field}: not a field of our containers"
    context = container.get("securityContext") or {}
    if context.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation: not false"
    if context.get("privileged"):
        yield "securityContext.privileged: true"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "securityContext.readOnlyRootFilesystem: not true"
    capabilities = context.get("capabilities") or {}
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "securityContext.capabilities: not all dropped"
    if not context.get("runAsNonRoot", pod.get("runAsNonRoot")):
        yield "securityContext.runAsNonRoot: not true"
    if context.get("runAsUser", pod.get("runAsUser")) in (0, None):
        yield "securityContext.runAsUser: root, or the image's own"
    if "seccompProfile" in context and context["seccompProfile"].get("type") != "RuntimeDefault":
        yield "securityContext.seccompProfile: not RuntimeDefault"
    if context.get("procMount", "Default") != "Default":
        yield "securityContext.procMount: not Default"
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield "ports: a port of the host"
