"""Which cluster is meant: kubeconfig, context and namespace, found as kubectl finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from .cluster import Cluster
from .errors import CliError, Exit

_HOME: Final = "~/.kube/config"
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    """The cluster that a command line means, found as kubectl finds it.

    Args:
        kubeconfig: path, or paths with the system's separator; KUBECONFIG, else ~/.kube/config, where unset. In a pod
            without any its ServiceAccount.
        context: of the kubeconfig; the current one where unset. Of several files the first that names one has a say.
        namespace: the context's where unset.

    Raises:
        CliError: there is no such kubeconfig or context.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = False
    paths = kubeconfig or config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION or _HOME
    try:
        merged = config.kube_config.KubeConfigMerger(paths)
        if merged.config is None and kubeconfig is None and (own := _own_account(configuration)) is not None:
            return Cluster(client.ApiClient(configuration), namespace or own)
        if merged.config is None:
            text = f"there is no kubeconfig at {paths}: set KUBECONFIG, or give --kubeconfig"
            raise CliError(text, Exit.UNREACHABLE)
        files = merged.config_files.values()
        chosen = context or next((one["current-context"] for one in files if one.get("current-context")), None)
        contexts = {
            one["name"]: one.get("context") or {} for file in reversed(files) for one in file.get("contexts") or ()
        }
        if chosen not in contexts:
            raise CliError(_no_context(chosen, sorted(contexts)), Exit.USAGE)
        config.load_kube_config(paths, chosen, client_configuration=configuration)
    except (config.ConfigException, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise CliError(f"the kubeconfig cannot be used: {text}", Exit.UNREACHABLE) from None
    except (AttributeError, KeyError, TypeError):  # the library looks into it as if it were one
        text = f"{paths}: it is not a mapping with clusters, contexts and users, each with its name"
        raise CliError(f"the kubeconfig cannot be used: {text}", Exit.UNREACHABLE) from None
    except OSError as error:
        raise CliError(f"the kubeconfig cannot be read: {error}", Exit.UNREACHABLE) from None
    return Cluster(client.ApiClient(configuration), namespace or contexts[chosen].get("namespace") or "default")


def _no_context(chosen: str | None, known: list[str]) -> str:
    names = ", ".join(known) or "none"
    if chosen is None:
        return f"the kubeconfig has no current context: give --context; there are: {names}"
    return f"the kubeconfig has no context {chosen!r}; there are: {names}"


def _own_account(configuration: Any) -> str | None:
    """The namespace of the pod that this runs in; None where it is no pod."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError):
        return None
