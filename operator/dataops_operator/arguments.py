"""The operator's command line: what an administrator may set, and what is refused before anything starts."""

from __future__ import annotations

import argparse
import os
from typing import Final

from . import __version__
from .api.base import parse_duration
from .core.objects import allowed_kinds

_LAST_PORT: Final = 65535
_PROJECT: Final = "{project}"


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line; durations come as seconds."""
    parser = argparse.ArgumentParser(
        prog="dataops-operator",
        usage="dataops-operator [options], see --help",
        description="The DataOps operator for Kubernetes.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--kubeconfig", help="kubeconfig to use; in a pod, its ServiceAccount otherwise")
    parser.add_argument("--namespaces", default="", help="namespaces to watch, with commas; all where empty")
    parser.add_argument("--listen", default="0.0.0.0:8080", help="address for /metrics, /healthz and /readyz")
    parser.add_argument("--lease-namespace", default=os.environ.get("POD_NAMESPACE"), help="namespace of the Lease")
    parser.add_argument("--lease-name", default="dataops-operator", help="name of the Lease that decides who leads")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", default="json", choices=("json", "text"))
    parser.add_argument("--workers", type=int, default=32, help="reconciles at once")
    parser.add_argument("--pipeline-wait", default="2m", help="how long a run waits for a Pipeline that is not there")
    parser.add_argument("--runner-service-account", default="dataops-runner", help="ServiceAccount that steps run as")
    parser.add_argument(
        "--revision-grace",
        default="5m",
        metavar="TIME",
        help="how long a revision that nobody needs stays after it was made or last used",
    )
    parser.add_argument("--resync", default="5m", help="time between two lists beside the watches")
    _of_environments(parser)
    arguments = parser.parse_args(words)
    _check(parser, arguments)
    return arguments


def _of_environments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("environments and secrets")
    group.add_argument(
        "--environment-namespaces",
        default=f"{_PROJECT}-*",
        metavar="PATTERN",
        help="names of the namespaces that Environments may have made, with commas; {project} is the Environment's own "
        "namespace, * stands for any letters",
    )
    group.add_argument(
        "--deletion-wait",
        default="5m",
        metavar="TIME",
        help="how long each stage of an Environment's deletion may take before it goes on and says what is left",
    )
    group.add_argument("--service-account", default="dataops-operator", help="the operator's own ServiceAccount")
    group.add_argument(
        "--runs-role",
        default="",
        metavar="NAME",
        help="ClusterRole with what runs with secrets need of the operator, bound by an Environment to the operator in "
        "its execution namespace; none is bound where empty, since it is granted already",
    )
    group.add_argument(
        "--vault-servers", default="", metavar="FILE", help="the Vault servers, as YAML; none where empty"
    )
    group.add_argument(
        "--vault-token",
        default="",
        metavar="FILE",
        help="token of the operator's ServiceAccount to log in to Vault with; {server} is the server's name",
    )
    group.add_argument(
        "--results-listen", default="", help="address at which pods hand in results, by TLS; none where empty"
    )
    group.add_argument(
        "--results-url", default="", metavar="URL", help="the same as pods reach it: https://…/v1/results"
    )
    group.add_argument(
        "--results-tls", default="", metavar="FOLDER", help="folder with tls.crt, tls.key and ca.crt for that address"
    )
    group.add_argument("--agent-image", default="", help="image that logs in to Vault in a pod: the operator's own")
    group.add_argument(
        "--step-objects",
        default="[]",
        metavar="JSON",
        help="kinds that steps may look at with the rights of their own ServiceAccount, as a list of "
        '{"apiVersion", "kind", "resource", "access": "Read" or "Apply"}',
    )
    group.add_argument(
        "--steps-role",
        default="",
        metavar="NAME",
        help="ClusterRole with the rights on those kinds, bound by an Environment to the ServiceAccount that steps run "
        "as; none is bound where empty",
    )
    group.add_argument("--storage-image", default="", help="image of the Jobs that touch an Environment's targets")


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the process with a line that says what is wrong, rather than in its middle; durations become seconds."""
    if not arguments.lease_namespace:
        parser.error("--lease-namespace is needed where POD_NAMESPACE is not set")
    if arguments.workers < 1:
        parser.error(f"--workers: {arguments.workers} would do no work; give 1 or more")
    port = arguments.listen.rpartition(":")[2]
    if not port.isdecimal() or int(port) > _LAST_PORT:
        parser.error(f"--listen: {arguments.listen!r} is not an address and a port, such as 0.0.0.0:8080")
    try:
        arguments.step_objects = allowed_kinds(arguments.step_objects)
    except ValueError as error:
        parser.error(f"--step-objects: {error}")
    results = (arguments.results_listen, arguments.results_url, arguments.results_tls)
    if any(results) and not all(results):
        parser.error("--results-listen, --results-url and --results-tls go together; give all three, or none")
    for name in ("pipeline_wait", "resync", "deletion_wait", "revision_grace"):
        option = f"--{name.replace('_', '-')}"
        try:
            setattr(arguments, name, parse_duration(getattr(arguments, name)))
        except ValueError as error:
            parser.error(f"{option}: {error}")
    if arguments.resync < 1:
        parser.error("--resync: lists without a pause would do nothing else; give 1s or more")
