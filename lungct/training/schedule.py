"""The learning rate as a pure function of the step and the validations so far: a resumed run needs no state for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLOOR = 0.01
"""Share of the rate that is left at the end of a cosine."""


@dataclass(frozen=True)
class Schedule:
    """How the rate goes after a linear warm-up.

    Attributes:
        name: of ``registry.SCHEDULES``.
        lr: the highest rate.
        warmup: share of all steps in which it rises.
        cut: what the rate is multiplied by at a milestone, or on a plateau.
        milestones: shares of all steps at which ``step`` cuts.
        cycles: of ``warm-restarts``, each twice as long as the one before.
        wait: validations without a better one after which ``plateau`` cuts.
    """

    name: str
    lr: float
    warmup: float = 0.0
    cut: float = 0.1
    milestones: tuple[float, ...] = ()
    cycles: int = 1
    wait: int = 2

    def rate(self, step: int, steps: int, scores: Sequence[float] = ()) -> float:
        """Rate of step 0..steps-1, after validations of ``scores``, in their order.

        Source: Loshchilov & Hutter 2017 (SGDR), equation 5, with T_mult 2 for the restarts.
        """
        rising = self.warmup * steps
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - rising, 1)
        if self.name == "step":
            return self.lr * math.pow(self.cut, sum(step >= share * steps for share in self.milestones))
        if self.name == "plateau":
            return self.lr * math.pow(self.cut, plateaus(scores, self.wait))
        if self.name == "cosine":
            return self.lr * _cosine(done)
        if self.name == "warm-restarts":
            return self.lr * _cosine(_within_cycle(done, self.cycles))
        return self.lr


def _cosine(done: float) -> float:
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def _within_cycle(done: float, cycles: int) -> float:
    """Share of the present cycle, the cycles' lengths being 1, 2, 4, ... units."""
    units = done * (math.ldexp(1.0, cycles) - 1)
    cycle = min(int(math.log2(units + 1)), cycles - 1)
    length = math.ldexp(1.0, cycle)
    return (units - (length - 1)) / length


def plateaus(scores: Sequence[float], wait: int) -> int:
    """How often ``wait`` validations in a row brought nothing better than the best before."""
    best, waited, found = -math.inf, 0, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited == wait:
            waited, found = 0, found + 1
    return found
