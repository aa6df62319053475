"""Where draws come from: one stream per kind of slice, each with its share of every batch and its own order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lungct.types import FloatArray, IntArray

ANYWHERE = -1
"""The spot of a draw that asks for no particular place of its slice."""


class Stream(Protocol):
    """A kind of slice.

    Attributes:
        share: of the draws of a batch.
    """

    @property
    def share(self) -> float: ...

    def draw(self, random: np.random.Generator, epoch: int, count: int) -> tuple[IntArray, IntArray]:
        """(count,) indices of slices, and the spot that each is drawn for."""


@dataclass(frozen=True)
class Cycled:
    """Every slice once before any comes again: permutations one after another."""

    share: float
    indices: Sequence[int]

    def draw(self, random: np.random.Generator, epoch: int, count: int) -> tuple[IntArray, IntArray]:
        rounds = -(-count // len(self.indices))
        order = np.concatenate([random.permutation(len(self.indices)) for _ in range(rounds)])[:count]
        return np.asarray(self.indices)[order], np.full(count, ANYWHERE)


@dataclass(frozen=True)
class Eligible:
    """Uniform with replacement among the slices that are not too difficult yet.

    Attributes:
        difficulty: of each of ``indices``.
        limit: of an epoch: the greatest difficulty that is drawn. Where none is so easy, the easiest are.
    """

    share: float
    indices: Sequence[int]
    difficulty: FloatArray
    limit: Callable[[int], float]

    def eligible(self, epoch: int) -> IntArray:
        """Those of ``indices`` that may be drawn."""
        least = max(self.limit(epoch), float(self.difficulty.min()))
        return np.asarray(self.indices)[self.difficulty <= least]

    def draw(self, random: np.random.Generator, epoch: int, count: int) -> tuple[IntArray, IntArray]:
        return random.choice(self.eligible(epoch), count), np.full(count, ANYWHERE)


@dataclass(frozen=True, eq=False)
class Spots:
    """Places of slices, with replacement, in proportion to their weights.

    Attributes:
        index: (N,) the slice of each spot.
        weights: (N,) positive.
    """

    share: float
    index: IntArray
    weights: FloatArray

    def draw(self, random: np.random.Generator, epoch: int, count: int) -> tuple[IntArray, IntArray]:
        spots = random.choice(len(self.index), count, p=self.weights / self.weights.sum())
        return self.index[spots], spots


def turns(shares: Sequence[float], count: int) -> IntArray:
    """(count,) which stream each draw is of, such that after any number of draws each has its share to within one."""
    wanted = np.asarray(shares, dtype=np.float64)
    wanted = wanted / wanted.sum()
    if len(wanted) == 1:
        return np.zeros(count, dtype=np.intp)
    given = np.zeros(len(wanted))
    found = np.empty(count, dtype=np.intp)
    for number in range(count):
        found[number] = np.argmax(wanted * (number + 1) - given)
        given[found[number]] += 1
    return found
