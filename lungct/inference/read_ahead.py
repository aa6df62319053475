"""Scans read and cut into stacks by threads while the network runs; each keeps a few batches at hand and no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Part = TypeVar("Part")

HELD = 4
"""Parts of one item that lie ready; bounds the memory."""
_LOOK_S = 0.2


class ReadAhead(Generic[Item, Part]):
    """Goes through items in their order, each by ``parts``, with ``workers`` of them under way at once.

    Without workers an item's parts are made when they are asked for. What ``parts`` raises is raised where they are
    asked for.
    """

    def __init__(self, items: Sequence[Item], parts: Callable[[Item], Iterator[Part]], workers: int) -> None:
        self._items, self._parts, self._workers = list(items), parts, workers
        self._stopped = threading.Event()
        self._underway: list[_Pipe[Part]] = []

    def __iter__(self) -> Iterator[tuple[Item, Iterator[Part]]]:
        """Each item and its parts; they are to be used up, or left, before the next item."""
        waiting = iter(self._items)
        try:
            for item in self._items:
                if self._workers == 0:
                    yield item, self._parts(item)
                    continue
                while len(self._underway) < self._workers and (more := next(waiting, None)) is not None:
                    self._underway.append(_Pipe(self._parts, more, self._stopped))
                pipe = self._underway.pop(0)
                yield item, pipe.parts()
                pipe.stop()
        finally:
            self._stopped.set()
            for pipe in self._underway:
                pipe.stop()


class _Pipe(Generic[Part]):
    """One item whose parts are made by a thread."""

    def __init__(self, parts: Callable[[Item], Iterator[Part]], item: Item, stopped: threading.Event) -> None:
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(HELD)
        self._left, self._stopped = threading.Event(), stopped
        self._thread = threading.Thread(target=self._make, args=(parts, item), daemon=True)
        self._thread.start()

    def parts(self) -> Iterator[Part]:
        """The parts in their order."""
        while True:
            kind, value = self._queue.get()
            if kind == "end":
                return
            if isinstance(value, Exception):
                raise value
            yield value

    def stop(self) -> None:
        """Let the thread end, and wait for it: it may hold a file open."""
        self._left.set()
        self._thread.join()

    def _make(self, parts: Callable[[Item], Iterator[Part]], item: Item) -> None:
        try:
            for part in parts(item):
                if not self._put("part", part):
                    return
            self._put("end", None)
        except Exception as problem:
            self._put("failed", problem)

    def _put(self, kind: str, value: Any) -> bool:
        """Whether somebody still wants it."""
        while not (self._left.is_set() or self._stopped.is_set()):
            try:
                self._queue.put((kind, value), timeout=_LOOK_S)
                return True
            except queue.Full:
                continue
        return False
