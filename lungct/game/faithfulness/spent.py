"""What the measures have cost so far, and what as much again will cost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from lungct.types import FloatArray


@dataclass(frozen=True)
class Cost:
    """Seconds of all processors together, which hold on a busy machine too, and seconds on the clock at this pace."""

    processor_s: float
    clock_s: float

    def __str__(self) -> str:
        return f"{said(self.processor_s)} of processor time, {said(self.clock_s)} on the clock as busy as it is now"


@dataclass(eq=False)
class Spent:
    """Seconds and units by measure and method; a unit is what the cost of a measure grows with."""

    seconds: dict[tuple[str, str], FloatArray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    units: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def on(self, measure: str, method: str, units: float) -> Iterator[None]:
        """Count what is done in this block."""
        start = _now()
        yield
        self.seconds[measure, method] += _now() - start
        self.units[measure, method] += units

    def rate(self, measure: str, method: str) -> FloatArray:
        """(2,) seconds of processors and clock a unit; of a method that was not met as much as of the dearest."""
        rates = {
            of: self.seconds[name, of] / units for (name, of), units in self.units.items() if name == measure and units
        }
        if method in rates:
            return rates[method]
        return np.max(list(rates.values()), axis=0) if rates else np.zeros(2)

    def forget(self) -> None:
        """Start anew: the first image also pays for what is made once."""
        self.seconds.clear()
        self.units.clear()


def _now() -> FloatArray:
    return np.array([time.process_time(), time.perf_counter()])


def said(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
