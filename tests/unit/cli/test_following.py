"""A watch that is taken up where it ended, and begun anew where the API server has forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dataops_operator.cli.cluster import RUNS, Cluster
from dataops_operator.cli.errors import CliError, Exit
from dataops_operator.cli.following import PATIENCE, follow

Object = dict[str, Any]
GONE = CliError("too old resource version", status=410)
DOWN = CliError("no answer", Exit.UNREACHABLE)


def state(version: int, uid: str = "u") -> Object:
    return {"metadata": {"name": "r", "uid": uid, "resourceVersion": str(version)}}


def event(type_: str, version: int) -> Object:
    return {"type": type_, "object": state(version)}


class Scripted(Cluster):
    """A cluster that answers as it is told."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        super().__init__(None, "shop")
        self.lists, self.watches, self.asked = lists, watches, list[str]()

    def pages(self, *_: Any, **more: Any) -> Iterator[Object]:
        assert more["fields"] == "metadata.name=r"
        found = self.lists.pop(0)
        if isinstance(found, CliError):
            raise found
        version, items = found
        yield {"metadata": {"resourceVersion": str(version)}, "items": items}

    def watch(self, kind: Any, namespace: str, name: str, version: str, seconds: int) -> Iterator[Object]:
        self.asked.append(version)
        for one in self.watches.pop(0):
            if isinstance(one, CliError):
                raise one
            yield one


def followed(cluster: Scripted) -> tuple[list[str], CliError, list[float]]:
    """The versions that were seen, how it ended, and the pauses."""
    seen, pauses = list[str](), list[float]()
    try:
        for one in follow(cluster, RUNS, "shop", "r", pause=pauses.append):
            seen.append(one["metadata"]["resourceVersion"])
    except CliError as error:
        return seen, error, pauses
    raise AssertionError("it never ends by itself")


def test_a_watch_that_ends_is_taken_up_at_the_last_version_that_was_seen() -> None:
    first = [event("MODIFIED", 11), event("BOOKMARK", 20)]
    cluster = Scripted([(10, [state(5)])], [first, [event("MODIFIED", 21)], [event("DELETED", 22)]])
    seen, ended, pauses = followed(cluster)
    assert cluster.asked == ["10", "20", "21"]
    assert seen == ["5", "11", "21"]
    assert str(ended) == "run r in namespace shop was deleted"
    assert pauses == []


def test_after_a_410_it_begins_anew_with_how_things_stand() -> None:
    cluster = Scripted([(10, [state(5)]), (90, [state(80)])], [[GONE], [event("DELETED", 91)]])
    seen, _, _ = followed(cluster)
    assert cluster.asked == ["10", "90"]
    assert seen == ["5", "80"]


def test_an_object_that_was_made_anew_under_the_name_is_another_one() -> None:
    seen, ended, _ = followed(Scripted([(10, [state(5)]), (90, [state(80, uid="other")])], [[GONE]]))
    assert seen == ["5"]
    assert str(ended) == "run r in namespace shop was deleted"


def test_an_api_server_that_is_away_for_a_while_is_waited_for() -> None:
    busy = CliError("too many requests", status=429)
    cluster = Scripted([(10, [state(5)])], [[DOWN], [busy], [event("MODIFIED", 11), DOWN], [event("DELETED", 12)]])
    seen, _, pauses = followed(cluster)
    assert seen == ["5", "11"]
    assert cluster.asked == ["10", "10", "10", "11"]
    assert pauses == [0.4, 0.8, 0.4]


def test_it_gives_up_after_half_a_minute() -> None:
    _, ended, pauses = followed(Scripted([(10, [state(5)])], [[DOWN]] * (PATIENCE + 1)))
    assert ended is DOWN
    assert 25 <= sum(pauses) <= 40


@pytest.mark.parametrize("answer", [DOWN, CliError("you may not", status=403)])
def test_what_fails_at_the_first_question_is_told_at_once(answer: CliError) -> None:
    _, ended, pauses = followed(Scripted([answer], []))
    assert ended is answer
    assert pauses == []


def test_an_object_that_is_not_there() -> None:
    _, ended, _ = followed(Scripted([(10, [])], []))
    assert (str(ended), ended.code) == ("there is no run r in namespace shop", Exit.REFUSED)
