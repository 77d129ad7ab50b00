"""The command line: ``python3 -m localcluster COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from localcluster import images, state
from localcluster.errors import ClusterError, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 refused or failed (with a message on stderr)."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except ClusterError as error:
        say(f"localcluster: {error}")
        return 1
    except KeyboardInterrupt:
        say("localcluster: stopped; what was started is ended by `down`, and `up` goes on from here")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("images-build", help="build an image, or the base image alone")
    build.add_argument("image", nargs="?", help="full name, like localhost/my-image:dev; none: the base image")
    build.add_argument("dockerfile", nargs="?", type=Path)
    build.add_argument("context", nargs="?", type=Path)
    build.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    build.set_defaults(run=_images_build)

    return parser


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
