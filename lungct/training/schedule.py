"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math

FLOOR = 0.01
"""Share of the rate that is left at the end of the cosine."""


def rate_at(step: int, steps: int, *, lr: float, warmup: float, schedule: str) -> float:
    """Rate of step 0..steps-1: linear warm-up over ``warmup * steps``, then ``cosine`` down to 1 %, or ``constant``."""
    rising = warmup * steps
    if step < rising:
        return lr * (step + 1) / (rising + 1)
    if schedule == "constant":
        return lr
    done = (step - rising) / max(steps - rising, 1)
    return lr * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))
