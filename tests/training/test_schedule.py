"""The rate rises, falls and depends on the step alone."""

from __future__ import annotations

import pytest

from lungct.training.schedule import FLOOR, rate_at


def test_cosine_rises_to_the_rate_and_falls_to_its_floor() -> None:
    rates = [rate_at(step, 200, lr=1e-3, warmup=0.1, schedule="cosine") for step in range(201)]
    assert max(rates) == rates[20] == pytest.approx(1e-3)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[110] == pytest.approx(1e-3 * (1 + FLOOR) / 2)
    assert rates[200] == pytest.approx(1e-3 * FLOOR)


def test_constant_stays_after_the_warm_up() -> None:
    rates = [rate_at(step, 50, lr=0.5, warmup=0.2, schedule="constant") for step in range(50)]
    assert rates[0] < rates[5] < 0.5
    assert set(rates[10:]) == {0.5}


def test_no_warm_up_starts_at_the_rate() -> None:
    assert rate_at(0, 10, lr=0.5, warmup=0.0, schedule="cosine") == 0.5
