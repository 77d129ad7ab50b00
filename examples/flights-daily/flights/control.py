"""Control totals: what a day must add up to, per carrier and scheduled hour, taken from the source itself.

They are summed in plain Python from the source's own lines, before anything is written and without the
database that the audit uses, so that one mistake cannot be made on both sides.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

MEASURES = ("rows", "departed", "distance", "dep_delay", "arr_delay", "air_time")
"""Flights; flights that left; and sums in miles, minutes, minutes, minutes."""

Totals = dict[str, int]
Group = tuple[str, int]


def totals(records: Iterable[Mapping[str, str]]) -> dict[Group, Totals]:
    """Return the measures of the source's records by carrier and hour."""
    groups: dict[Group, Totals] = defaultdict(lambda: dict.fromkeys(MEASURES, 0))
    for record in records:
        group = groups[record["carrier"], int(record["hour"])]
        group["rows"] += 1
        group["departed"] += record["dep_time"] != "NA"
        for measure in MEASURES[2:]:
            group[measure] += 0 if record[measure] == "NA" else int(record[measure])
    return dict(groups)


def to_document(groups: Mapping[Group, Totals]) -> list[dict[str, str | int]]:
    """Return the totals as JSON has them, in order of carrier and hour."""
    return [{"carrier": carrier, "hour": hour, **groups[carrier, hour]} for carrier, hour in sorted(groups)]


def from_document(document: Iterable[Mapping[str, str | int]]) -> dict[Group, Totals]:
    """Return the totals that `to_document` wrote."""
    return {
        (str(row["carrier"]), int(row["hour"])): {measure: int(row[measure]) for measure in MEASURES}
        for row in document
    }
