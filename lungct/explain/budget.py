"""The largest setting that a budget of time allows: how many masks or samples the methods take."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from lungct.errors import UsageError
from lungct.explain.base import MethodOptions, Subject
from lungct.explain.plan import Rates, measure, seconds_of
from lungct.explain.run import ExplainOptions, prepare

logger = logging.getLogger("lungct")

STEPS = 64


def within(run: Path, slices: Path, options: ExplainOptions, seconds: float) -> ExplainOptions:
    """The options with the largest share of D-RISE's masks and of SS-CAM's and IS-CAM's samples that fits.

    What a method is stays as it is: channels are not left out, and numbers do not fall below ``registry.LEAST_MASKS``
    and ``registry.LEAST_SAMPLES``.

    Raises:
        InputError, UsageError: as the run itself would; or not even the least fits.
    """
    job = prepare(run, slices, options)
    subject, rates = measure(job)
    if subject is None:
        return options
    images = len(job.truth.images)
    for step in range(STEPS, 0, -1):
        method = dataclasses.replace(options.method, share=step / STEPS)
        needed = images * _seconds(options, subject, method, rates)
        if needed <= seconds:
            logger.info(
                "budget of %g s: %.0f %% of the masks and samples, about %.0f s", seconds, 100 * method.share, needed
            )
            return dataclasses.replace(options, method=method)
    raise UsageError(
        f"--budget {seconds:g}s: {', '.join(options.methods)} on {images} images takes at least {needed:.0f} s; "
        "give more time, explain fewer images (--max-images), or see --approximate"
    )


def _seconds(options: ExplainOptions, subject: Subject, method: MethodOptions, rates: Rates) -> float:
    return rates.opening_s + sum(seconds_of(name, subject, method, rates) for name in options.methods)


def seconds_in(text: str) -> float:
    """Of ``90``, ``60s``, ``5m`` or ``2h``.

    Raises:
        UsageError: none of these.
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    try:
        seconds = float(number) * (unit or 1)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--budget {text!r}: a time such as 60s, 5m or 2h")
    return seconds
