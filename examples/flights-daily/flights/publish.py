"""Publish one day: write it beside, then one atomic switch; readers get the old day or the new one."""

import sys
from collections.abc import Sequence
from datetime import date

from flights import command, versions
from flights.errors import StepError
from flights.lake import TABLE, Lake, read_json, sha256
from flights.result import Result


def publish(lake: Lake, day: date) -> Result:
    """Make the run's audited candidate the day that readers get; other days stay as they are.

    Raises:
        StepError: this run's candidate has no verdict, a bad one, or one on other content.
    """
    candidate = read_json(lake.candidate(day) / "candidate.json", made_by="conform")
    verdict = read_json(lake.verdict(day), made_by="audit")
    if not verdict["passed"]:
        failed = [check["name"] for check in verdict["checks"] if check["outcome"] == "Fail"]
        raise StepError(f"nothing published: {len(failed)} checks of the audit of {day} failed, first {failed[0]}")
    if verdict["candidate"] != sha256(lake.candidate(day) / TABLE):
        raise StepError(f"nothing published: the candidate of {day} changed after its audit; run audit again")
    version = versions.publish(lake, day, candidate["rows"])
    return Result(
        outputs={"version": version.id, "rows": version.rows},
        metrics={"rows": version.rows},
        datasets=[{"name": "flights", "partition": version.day, "version": version.id, "rows": version.rows}],
        text=f"published {version.rows} flights of {day} as version {version.number} ({version.id})",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    parser = command.parser("publish", __doc__ or "")
    command.add_day(parser)
    args = parser.parse_args(argv)
    return command.finish(lambda lake: publish(lake, args.day), args.lake)


if __name__ == "__main__":
    sys.exit(main())
