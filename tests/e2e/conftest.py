"""One cluster for all of these tests, one namespace for each; every test ends with the invariants.

Cases that do not depend on each other run side by side: a test marked with `begins` names a function that starts its
runs, and all of a module's are called before its first test (of a module and not of all, or two cores are so busy
that nothing starts in its time). A test then waits for its own.

E2E_KEEP=1 takes the cluster as an earlier call left it and leaves it in turn, to look at what failed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.leaks import Leaks
from tests.e2e.observer import Observer
from tests.e2e.platform import Platform
from tests.e2e.replicas import Replicas
from tests.e2e.room import Room
from tests.e2e.site import Site, bring_up, take_down
from tests.harness.canary import canary

from localcluster import kind, state

KEEP = bool(os.environ.get("E2E_KEEP"))
SETTLED_WITHIN = 60.0
LONGEST_TEST = 600
SITE = pytest.StashKey[Site]()
ROOM = pytest.StashKey[Room]()
FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "begins(function): starts the test's runs, beside those of its module")
    config.addinivalue_line("markers", "crashes: the machine dies; left out where kind has the API server on it, too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that disturb others come last: operator, chart, node; a first build of the cluster counts for no test."""
    if kind.docker_answers():
        items[:] = [item for item in items if item.get_closest_marker("crashes") is None]
    items.sort(key=lambda item: getattr(item.getparent(pytest.Module).obj, "DISTURBS", 0))  # type: ignore[union-attr]
    for item in items:
        item.add_marker(pytest.mark.timeout(LONGEST_TEST, func_only=True))


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The cluster, with Vault, PostgreSQL and the chart in it; another call of this tier waits for its end."""
    with state.locked("e2e-tier"):
        try:
            found = bring_up(fresh=not KEEP)
            request.config.stash[SITE] = found
            platform = Platform(found)
            platform.apply()
            found.install()
            platform.wait()
            platform.put("flights/signing", key=canary("signing"))
            yield found
        finally:
            if not KEEP:
                take_down()


@pytest.fixture(scope="session")
def platform(site: Site) -> Platform:
    """Vault and PostgreSQL."""
    return Platform(site)


@pytest.fixture(scope="session")
def observer(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observer]:
    """What follows the cluster beside the tests."""
    with Observer(*site.credentials(), tmp_path_factory.mktemp("observer")) as found:
        yield found


@pytest.fixture(scope="session")
def replicas(site: Site, observer: Observer) -> Replicas:
    """The operator's pods."""
    return Replicas(site, observer)


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest, site: Site, observer: Observer) -> dict[str, Room]:
    """The rooms of the module's tests that say how they begin, all begun; by the test's name."""
    mine = [item for item in request.session.items if item.path == request.path]
    wanted = {item.name: marker.args[0] for item in mine if (marker := item.get_closest_marker("begins"))}

    def begin(name: str, start: Callable[[Room], object]) -> tuple[str, Room]:
        room = Room(site, observer, _namespace(name))
        start(room)
        return name, room

    with ThreadPoolExecutor(8) as pool:
        return dict(pool.map(begin, wanted, wanted.values()))


@pytest.fixture
def room(request: pytest.FixtureRequest, site: Site, observer: Observer, begun: dict[str, Room]) -> Iterator[Room]:
    """The test's own namespace, with the test's runs in it if it says how it begins."""
    found = begun.pop(request.node.name, None) or Room(site, observer, _namespace(request.node.name))
    request.node.stash[ROOM] = found
    yield found
    if not KEEP:
        found.close()


@pytest.fixture(scope="session")
def leaks(observer: Observer) -> Leaks:
    """What looks for canaries."""
    return Leaks(observer)


@pytest.fixture(autouse=True)
def invariants(request: pytest.FixtureRequest, room: Room, leaks: Leaks) -> Iterator[None]:
    """What holds after every test, however it went."""
    yield
    broken = room.violations(5 if request.node.stash.get(FAILED, False) else SETTLED_WITHIN)
    broken += "\n".join(map(str, leaks.found()))
    assert not broken, f"after {request.node.name}:\n{broken}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add to a failure's report what one would look at next."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    found = item.config.stash.get(SITE, None)
    if report.failed and found is not None:
        item.stash[FAILED] = True
        report.sections += _diagnosis(found, item.stash.get(ROOM, None))
    return report  # type: ignore[return-value]


def _diagnosis(site: Site, room: Room | None) -> list[tuple[str, str]]:
    sections = [
        ("runs, jobs and pods", site.try_kubectl("get", "drun,jobs,pods", "-A", "-o", "wide")),
        ("the operator's log", Replicas.tail(site)),
    ]
    if room is not None:
        events = site.try_kubectl("get", "events", "-n", room.namespace, "--sort-by=.metadata.creationTimestamp")
        runs = site.try_kubectl("get", "drun", "-n", room.namespace, "-o", "yaml")
        sections += [(f"events of {room.namespace}", events[-6000:]), (f"runs of {room.namespace}", runs[-8000:])]
    return sections


def _namespace(test: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", test.removeprefix("test_").lower()).strip("-")
    # Short enough for the namespaces of branch environments, which are named after it.
    return f"{words[:40].strip('-')}-{secrets.token_hex(2)}"
