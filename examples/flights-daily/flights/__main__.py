"""`python3 -m flights COMMAND ...` runs one of the commands, as `python3 -m flights.COMMAND` does."""

import sys

from flights import audit, conform, land, load, publish, report, show

COMMANDS = {
    "land": land.main,
    "conform": conform.main,
    "audit": audit.main,
    "publish": publish.main,
    "load": load.main,
    "report": report.main,
    "show": show.main,
}


def main(argv: list[str]) -> int:
    """Run the command that the first argument names."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python3 -m flights {{{','.join(COMMANDS)}}} [--help]", file=sys.stderr)
        return 2
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
