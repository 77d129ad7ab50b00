"""When a server is left alone, and for how long."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dataops_operator.vault.breaker import FAILURES, FIRST, LONGEST, Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.admits(at)
        breaker.failed(at)
    return breaker


def test_it_opens_after_failures_in_a_row_alone() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed(0)
        breaker.succeeded()
    assert not breaker.open
    assert opened().open


def test_one_may_ask_when_the_time_is_over_and_its_success_closes_it() -> None:
    breaker = opened()
    assert not breaker.admits(FIRST - 0.1)
    assert breaker.wait(FIRST - 1) == 1
    assert breaker.admits(FIRST)
    assert not breaker.admits(FIRST), "a second one, while the first has no answer"
    breaker.succeeded()
    assert not breaker.open
    assert breaker.admits(FIRST)


def test_it_stays_open_for_twice_as_long_each_time_up_to_a_longest() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(6):
        pauses.append(breaker.wait(now))
        now += breaker.wait(now)
        assert breaker.admits(now)
        breaker.failed(now)
    assert pauses == [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, LONGEST, LONGEST]


def test_one_that_nobody_waited_for_lets_another_ask() -> None:
    breaker = opened()
    assert breaker.admits(FIRST)
    breaker.abandoned()
    assert breaker.admits(FIRST)


def test_failures_of_requests_from_before_do_not_keep_it_open_for_longer() -> None:
    breaker = opened()
    breaker.failed(FIRST - 0.1)
    assert breaker.wait(0) == FIRST


class Machine(RuleBasedStateMachine):
    """Whatever happens, somebody may ask again within the longest pause."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now, self.asking = Breaker(), 0.0, 0

    @rule(seconds=st.floats(0, 2 * LONGEST))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        self.asking += self.breaker.admits(self.now)

    @precondition(lambda self: self.asking)
    @rule(how=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def answer(self, how: str) -> None:
        self.asking -= 1
        self.breaker.failed(self.now) if how == "failed" else getattr(self.breaker, how)()

    @invariant()
    def somebody_may_ask_soon(self) -> None:
        assert self.breaker.wait(self.now) <= LONGEST
        if not self.asking:
            assert not self.breaker.probing
            assert not self.breaker.open or self.now + self.breaker.wait(self.now) >= self.breaker.until


TestMachine = Machine.TestCase
