"""The metrics document as a tidy table: one row per measure and subset, with its interval and its number of boxes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CALIBRATION = ("ece", "d_ece", "mce", "brier", "auc")


@dataclass(frozen=True)
class Measure:
    """One number; ``subset`` is empty for the whole, ``n`` the boxes it rests on where that is a part of them."""

    name: str
    value: float | None
    ci95: tuple[float, float] | None = None
    subset: str = ""
    n: int | None = None


def measures(metrics: Mapping[str, Any]) -> Iterator[Measure]:
    """Every number of the document, those of the whole first."""
    known = set()
    for name, value in _whole(metrics):
        if name not in known:
            known.add(name)
            ci95 = metrics["ci95"].get(name)
            yield Measure(name, value, tuple(ci95) if ci95 else None)
    yield from _parts(metrics)


def _whole(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for kind in ("ap", "ar"):
        yield from ((f"{kind}@{iou}", value) for iou, value in metrics.get(kind, {}).items())
        yield from ((f"{kind}@{float(iou):g}", value) for iou, value in metrics.get(f"{kind}_by_iou", {}).items())
    yield from ((f"sensitivity@{rate}fp", value) for rate, value in metrics["froc"]["at"].items())
    yield "froc_mean", metrics["froc"]["mean"]
    yield from ((f"cpm_{rule}", value) for rule, value in metrics["froc"].get("cpm", {}).items())
    yield from metrics["counts"].items()
    yield from ((f"coco_{name}", value) for name, value in metrics.get("coco", {}).items())
    found = dict(metrics.get("other_ap", {}))
    by_score = found.pop("score_thresholds", {})
    for name, by_iou in found.items():
        yield from ((f"{name}@{iou}", value) for iou, value in by_iou.items())
    yield from ((f"score_thresholds_{name}", by_score[name]) for name in ("map", "mean_iou") if by_score)
    calibration = metrics.get("calibration", {})
    yield from ((name, calibration[name]) for name in CALIBRATION if name in calibration)


def _parts(metrics: Mapping[str, Any]) -> Iterator[Measure]:
    for part, name, unit in (("by_size", "class", "unit"), ("by_category", "category", "")):
        for one in metrics.get(part, ()):
            subset = f"{part.removeprefix('by_')}: {one[name]} {one.get(unit, '')}".rstrip()
            for kind in ("ap", "ar"):
                for iou, value in one[kind].items():
                    ci95 = one.get("ci95", {}).get(f"{kind}@{iou}")
                    yield Measure(f"{kind}@{iou}", value, tuple(ci95) if ci95 else None, subset, one["n"])
    for name, one in metrics.get("errors", {}).items():
        yield Measure("dap", one["dap"], None, f"error: {name}", one["n"])
    ratios = metrics.get("area_ratios", {})
    for name in ("bigger", "smaller", "equal"):
        yield from (
            Measure(f"area_ratio_{key}", value, None, f"box: {name}") for key, value in ratios.get(name, {}).items()
        )
    for one in metrics.get("criteria", ()):
        yield Measure("froc_mean", one["mean"], one["ci95"], f"hit: {one['hit']}")
    for one in metrics.get("breakdown", ()):
        subset = f"{one['attribute']}: {one['level']}"
        for name in ("sensitivity", "froc_mean"):
            yield Measure(name, one[name], one[f"{name}_ci95"], subset, one["n"])


def tidy_csv(metrics: Mapping[str, Any]) -> bytes:
    """Columns measure, subset, value, low95, high95, n; an empty cell where there is no number."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("measure", "subset", "value", "low95", "high95", "n"))
    for one in measures(metrics):
        low, high = one.ci95 or ("", "")
        writer.writerow((one.name, one.subset, "" if one.value is None else one.value, low, high, one.n or ""))
    return stream.getvalue().encode()
