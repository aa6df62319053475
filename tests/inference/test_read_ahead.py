"""Reading ahead: the same parts in the same order, errors where they belong, few parts at hand, no thread left over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lungct.inference.read_ahead import HELD, ReadAhead


def parts(item: int) -> Iterator[int]:
    yield from range(10 * item, 10 * item + 9)


@pytest.mark.parametrize("workers", [0, 1, 2, 9])
def test_order_and_an_end_to_threads(workers: int) -> None:
    before = threading.active_count()
    found = {item: list(view) for item, view in ReadAhead([3, 1, 2], parts, workers)}
    assert list(found) == [3, 1, 2]
    assert found == {item: list(parts(item)) for item in (1, 2, 3)}
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_where_its_item_is_used(workers: int) -> None:
    def failing(item: int) -> Iterator[int]:
        yield item
        if item == 2:
            raise ValueError("broken")

    seen = []
    for item, view in ReadAhead([1, 2, 3], failing, workers):
        try:
            seen += list(view)
        except ValueError:
            seen.append(-item)
    assert seen == [1, -2, 3]


def test_no_more_than_a_few_parts_are_made_before_they_are_wanted() -> None:
    made = []

    def counted(item: int) -> Iterator[int]:
        for part in range(100):
            made.append(part)
            yield part

    before = threading.active_count()
    for _, view in ReadAhead(["a"], counted, 1):
        next(view)
        time.sleep(0.1)
        assert len(made) <= HELD + 3
        break
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before, "the thread of an item that was left goes on"
