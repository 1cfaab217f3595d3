"""How often a waiting request looks at its job."""

import pytest

from services.common.responses import FIRST_POLL, LAST_POLL, pause_before
from shared.jobs import JobView


def running(step: int | None, started: float = 100.0) -> JobView:
    return JobView("0" * 32, "hide", "running", 99.0, step=step, steps=None if step is None else 20, started=started)


def test_the_next_look_is_half_way_to_the_end() -> None:
    assert pause_before(running(10), 1.0, now=100.4) == pytest.approx(0.2)  # ten steps took .4 s, ten are left


def test_the_end_is_looked_for_ever_closer() -> None:
    looks, now = 0, 100.0
    while now < 102.0:  # twenty steps of .1 s
        now += pause_before(running(min(19, int((now - 100) * 10 + 1e-9))), now - 100, now)
        looks += 1
    assert now < 102.0 + 2 * FIRST_POLL  # the last two looks may fall together behind the end
    assert looks < 30


@pytest.mark.parametrize("view", [JobView("0" * 32, "hide", "queued", 99.0, position=3), running(None)])
def test_without_steps_the_pauses_grow_with_the_wait(view: JobView) -> None:
    assert [pause_before(view, waited, 0.0) for waited in (0.0, 0.5, 60.0)] == [FIRST_POLL, 0.1, LAST_POLL]


def test_a_clock_that_runs_behind_does_no_harm() -> None:
    assert pause_before(running(10, started=500.0), 1.0, now=100.0) == FIRST_POLL
