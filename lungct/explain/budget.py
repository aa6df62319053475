"""The largest setting that a budget of time allows: how many masks or samples the methods take."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path

from lungct import registry
from lungct.errors import InputError, UsageError
from lungct.explain.base import Subject
from lungct.explain.job import Job, prepare
from lungct.explain.options import ExplainOptions
from lungct.explain.plan import Rates, measure, seconds_of
from lungct.io.atomic import staging_of
from lungct.io.npz import read_heatmaps

logger = logging.getLogger("lungct")

STEPS = 64


def within(
    run: Path, slices: Path, options: ExplainOptions, seconds: float, *, resumed: Path | None = None
) -> ExplainOptions:
    """The options with the largest share of D-RISE's masks and of SS-CAM's and IS-CAM's samples that fits.

    What a method is stays as it is: channels are not left out, and numbers do not fall below ``registry.LEAST_MASKS``
    and ``registry.LEAST_SAMPLES``.

    Args:
        resumed: the output of an interrupted run that goes on; its share is taken, for under another one every map
            would have to be made anew.

    Raises:
        InputError, UsageError: as the run itself would; or not even the least fits.
    """
    job = prepare(run, slices, options)
    begun = None if resumed is None else _begun(job, resumed)
    if begun is not None:
        logger.info("budget: %.0f %% of the masks and samples, as the interrupted run took", 100 * begun)
        return _with_share(options, begun)
    subject, rates = measure(job)
    if subject is None:
        return options
    images = len(job.truth.images)
    for step in range(STEPS, 0, -1):
        lesser = _with_share(options, step / STEPS)
        needed = images * _seconds(lesser, subject, rates)
        if needed <= seconds:
            logger.info(
                "budget of %g s: %.0f %% of the masks and samples, about %.0f s", seconds, 100 * step / STEPS, needed
            )
            return lesser
    ways = ["give more time", "explain fewer images (--max-images)"]
    if any("clusters" in registry.METHODS[one].reads for one in options.methods):
        ways.append("see --approximate")
    raise UsageError(
        f"--budget {seconds:g}s: {', '.join(options.methods)} on {images} images takes at least {needed:.3g} s; "
        + ", or ".join(ways)
    )


def _with_share(options: ExplainOptions, share: float) -> ExplainOptions:
    return dataclasses.replace(options, method=dataclasses.replace(options.method, share=share))


def _begun(job: Job, out: Path) -> float | None:
    """The share of an interrupted run's first map that was made under these settings otherwise."""
    for method in job.options.methods:
        for path in sorted(staging_of(out / method).glob("*.npz")):
            with contextlib.suppress(InputError):
                found = read_heatmaps(path).provenance.get("settings")
                if isinstance(found, dict) and {**found, "share": job.settings["share"]} == job.settings:
                    return float(found.get("share", 1.0))
    return None


def _seconds(options: ExplainOptions, subject: Subject, rates: Rates) -> float:
    return rates.opening_s + sum(seconds_of(name, subject, options.method, rates) for name in options.methods)


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
