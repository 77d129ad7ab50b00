"""The command line: ``python3 -m localcluster COMMAND``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from localcluster import binaries, clusters, images, kind, state
from localcluster.errors import ClusterError, say
from localcluster.state import Cluster

_COMMANDS = Path(__file__).resolve().parent.parent / "bin"
"""Where the checkout's own commands are: `dataops`, also as a plugin of kubectl."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 refused or failed (with a message on stderr)."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except ClusterError as error:
        say(f"localcluster: {error}")
        return 1
    except BrokenPipeError:  # the reader, `head` say, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        say("localcluster: stopped; what was started is ended by `down`, and `up` goes on from here")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("binaries", help="build the pinned programs into the cache")
    command.add_argument("--group", action="append", choices=sorted(binaries.GROUPS), help="default: those of a node")
    command.add_argument("--all", action="store_true", help="those of this machine's clusters and of the checks")
    command.set_defaults(run=_binaries)

    command = commands.add_parser("up", help="bring a cluster up; safe to repeat")
    _name(command)
    command.add_argument("--control-plane-only", action="store_true", help="an API without a node; needs no root")
    command.add_argument("--tuned-jobs", action="store_true", help="lift the Job controller's stock limits")
    command.add_argument("--audit", action="store_true", help="log each API request; the file stands in status --json")
    command.set_defaults(run=_up)

    command = commands.add_parser("down", help="stop a cluster and remove all it left; safe to repeat")
    _name(command)
    command.set_defaults(run=_down)

    command = commands.add_parser("status", help="how each part is; exit code 1 unless all are healthy")
    _name(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_status)

    command = commands.add_parser("kubeconfig", help="print the path of the kubeconfig and nothing else")
    _name(command)
    command.set_defaults(run=_kubeconfig)

    command = commands.add_parser("env", help='print what eval "$(... env)" puts into a shell: KUBECONFIG and PATH')
    _name(command)
    command.set_defaults(run=_env)

    command = commands.add_parser("list", help="the clusters there are, one a line")
    command.set_defaults(run=_list)

    build = commands.add_parser("images-build", help="build an image, or the base image alone")
    build.add_argument("image", nargs="?", help="full name, like localhost/my-image:dev; none: the base image")
    build.add_argument("dockerfile", nargs="?", type=Path)
    build.add_argument("context", nargs="?", type=Path)
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    build.set_defaults(run=_images_build)

    command = commands.add_parser("images-load", help="copy built images into a cluster")
    command.add_argument("images", nargs="+", metavar="NAME")
    _name(command)
    command.set_defaults(run=_images_load)
    return parser


def _name(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="demo", help="the cluster's name (demo)")


def _known(name: str) -> Cluster:
    cluster = state.load(name)
    if cluster is None:
        raise ClusterError(f"there is no cluster '{name}': bring it up with `make cluster NAME={name}`")
    return cluster


def _binaries(options: argparse.Namespace) -> int:
    groups = options.group or ["kubernetes", "runc"]
    if options.all:
        groups = ["kubernetes", *(("clients", "kind") if kind.docker_answers() else ("runc",)), "checks", "s3"]
    for group in groups:
        print(binaries.ensure(group))
    return 0


def _up(options: argparse.Namespace) -> int:
    clusters.up(options.name, options.control_plane_only, options.tuned_jobs, options.audit)
    return 0


def _down(options: argparse.Namespace) -> int:
    there = clusters.down(options.name)
    say(f"{options.name} is down" if there else f"there is no cluster '{options.name}'")
    return 0


def _status(options: argparse.Namespace) -> int:
    found = clusters.status(_known(options.name))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['name']} ({found['mode']}): {'healthy' if found['healthy'] else 'NOT healthy'}")
        for row in found["parts"]:
            process = f"process {row['pid']}" if row["pid"] else ""
            print(f"  {row['name']:<25}{'healthy' if row['healthy'] else 'NOT healthy':<13}{process}")
        print(f"  kubeconfig: {found['kubeconfig']}")
    return 0 if found["healthy"] else 1


def _kubeconfig(options: argparse.Namespace) -> int:
    print(_known(options.name).kubeconfig)
    return 0


def _env(options: argparse.Namespace) -> int:
    cluster = _known(options.name)
    group = "clients" if cluster.options.mode == "kind" else "kubernetes"
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    folders = f"{binaries.folder(group)}:{_COMMANDS}"
    print(f'export PATH={shlex.quote(folders)}:"$PATH"')
    return 0


def _list(_: argparse.Namespace) -> int:
    for cluster in state.load_all():
        print(f"{cluster.name}\t{cluster.options.mode}\t{cluster.kubeconfig}")
    return 0


def _images_load(options: argparse.Namespace) -> int:
    images.load(_known(options.name), options.images)
    return 0


def _images_build(options: argparse.Namespace) -> int:
    if options.image is None:
        print(images.ensure_base())
        return 0
    if options.context is None:
        raise ClusterError("images-build takes an image name, a Dockerfile and a context folder, or nothing")
    pairs = [pair.partition("=") for pair in options.build_arg]
    if any(not sign for _, sign, _ in pairs):
        raise ClusterError("--build-arg is written KEY=VALUE")
    images.build(options.image, options.dockerfile, options.context, {key: value for key, _, value in pairs})
    return 0
