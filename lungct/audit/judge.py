"""Every check over all that was measured: which of the numbers, pairs and labels are findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lungct.audit import (
    contrast,
    duplicates,
    field_of_view,
    hu_values,
    labels,
    leakage,
    lungs,
    noise,
    slice_order,
    voxel_shape,
)
from lungct.audit.duplicates import Link
from lungct.audit.finding import Finding, in_order
from lungct.audit.items import Item
from lungct.audit.measure import Measured


def judge(
    items: Sequence[Item], measured: Sequence[Measured], links: Sequence[Link], noise_percentile: float
) -> list[Finding]:
    """Every finding, heaviest first, from what was measured of each item and which are copies."""
    return in_order(_findings(items, measured, links, noise_percentile))


def _findings(
    items: Sequence[Item], measured: Sequence[Measured], links: Sequence[Link], percentile: float
) -> Iterator[Finding]:
    for item, one in zip(items, measured, strict=True):
        yield from _of_item(item, one)
    for number in sorted({item.data_set for item in items}):
        for is_scan in (True, False):
            facts = {
                item.name: one.facts
                for item, one in zip(items, measured, strict=True)
                if item.data_set == number and item.is_scan == is_scan and not one.problem
            }
            yield from noise.judge_all(facts, percentile)
            yield from voxel_shape.judge_all(facts) if is_scan else hu_values.judge_all(facts)
    yield from duplicates.findings(items, links)
    yield from duplicates.shared_slices(items, measured)
    yield from leakage.findings(items, links)
    yield from labels.findings(items)


def _of_item(item: Item, measured: Measured) -> Iterator[Finding]:
    name, facts = item.name, measured.facts
    if measured.problem:
        yield Finding("unreadable", name, "reason", measured.problem)
        return
    values = list(hu_values.judge(name, facts, is_scan=item.is_scan))
    yield from values
    if item.is_scan:
        # Limits in HU mean nothing where the values are none.
        in_hu = all(one.kind != "not-hu" for one in values)
        for check in (voxel_shape, slice_order, *((field_of_view, lungs, contrast) if in_hu else ())):
            yield from check.judge(name, facts)
