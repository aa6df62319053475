"""The rate rises and falls, and depends on the step and the validations so far alone."""

from __future__ import annotations

import pytest

from lungct.registry import SCHEDULES
from lungct.training.schedule import FLOOR, Schedule, plateaus


def _rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.rate(step, steps) for step in range(steps)]


def test_cosine_rises_to_the_rate_and_falls_to_its_floor() -> None:
    cosine = Schedule("cosine", 1e-3, warmup=0.1)
    rates = [*_rates(cosine, 200), cosine.rate(200, 200)]
    assert max(rates) == rates[20] == pytest.approx(1e-3)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[110] == pytest.approx(1e-3 * (1 + FLOOR) / 2)
    assert rates[200] == pytest.approx(1e-3 * FLOOR)


def test_constant_stays_after_the_warm_up() -> None:
    rates = _rates(Schedule("constant", 0.5, warmup=0.2), 50)
    assert rates[0] < rates[5] < 0.5
    assert set(rates[10:]) == {0.5}


def test_step_cuts_at_its_milestones() -> None:
    rates = _rates(Schedule("step", 1.0, cut=0.1, milestones=(0.5, 0.8)), 100)
    assert rates[:50] == [1.0] * 50
    assert rates[50:80] == [pytest.approx(0.1)] * 30
    assert rates[80:] == [pytest.approx(0.01)] * 20


def test_restarts_double_the_cycle() -> None:
    rates = _rates(Schedule("warm-restarts", 1.0, cycles=3), 70)
    assert [step for step, rate in enumerate(rates) if rate == 1.0] == [0, 10, 30]
    assert rates[10:30] == sorted(rates[10:30], reverse=True)
    assert rates[20] == pytest.approx((1 + FLOOR) / 2)
    assert rates[-1] < 0.02


def test_one_cycle_is_the_cosine() -> None:
    assert _rates(Schedule("warm-restarts", 1.0, cycles=1), 30) == _rates(Schedule("cosine", 1.0), 30)


def test_a_plateau_is_a_wait_without_a_better_validation() -> None:
    assert plateaus([], 2) == 0
    assert plateaus([0.1, 0.2, 0.2], 2) == 0
    assert plateaus([0.1, 0.2, 0.2, 0.1], 2) == 1
    assert plateaus([0.1, 0.2, 0.2, 0.1, 0.2], 2) == 1
    assert plateaus([0.1, 0.2, 0.2, 0.1, 0.2, 0.2], 2) == 2
    assert plateaus([0.1, 0.2, 0.2, 0.1, 0.3, 0.2], 2) == 1
    schedule = Schedule("plateau", 1.0, cut=0.5, wait=1)
    assert [schedule.rate(9, 10, scores) for scores in ([], [0.5], [0.5, 0.5], [0.5, 0.5, 0.4])] == [1, 1, 0.5, 0.25]


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_warm_up_starts_at_the_rate_and_none_exceeds_it(name: str) -> None:
    rates = _rates(Schedule(name, 0.5, milestones=(0.5,), cycles=3), 10)
    assert rates[0] == max(rates) == 0.5
    assert min(rates) > 0
