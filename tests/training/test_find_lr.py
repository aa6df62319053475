"""The rate range test finds the steepest fall and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungct.errors import UsageError
from lungct.training.find_lr import HIGHEST, LOWEST, find_lr, steepest
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD, _options


def test_the_steepest_fall_before_the_least_loss() -> None:
    losses = [9.0] * 10 + [9.0, 8.9, 8.0, 5.0, 2.0, 1.5, 1.4, 1.4, 1.3, 7.0, 1.0]
    rates = [float(index) for index in range(len(losses))]
    assert steepest(rates, losses[:-1]) == 13.0
    assert steepest(rates, [1.0, 9.5, *losses[2:-1]]) == 13.0, "an easy first batch says nothing"
    with pytest.raises(UsageError, match="fell at no rate"):
        steepest([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="fell at no rate"):
        steepest([], [])


def test_it_stops_where_the_loss_explodes_and_writes_nothing(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=6, val=0, size=72)
    before = sorted(tmp_path.rglob("*"))
    found = find_lr(tmp_path / "slices", _options(), execution=ONE_THREAD, steps=40)
    again = find_lr(tmp_path / "slices", _options(), execution=ONE_THREAD, steps=40)
    assert sorted(tmp_path.rglob("*")) == before
    assert found == again
    assert found.rates[0] == LOWEST
    assert LOWEST < found.lr < HIGHEST
    assert found.facts()["steps"] == len(found.rates) <= 40
