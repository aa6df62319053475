"""Real scans and slices: true copies are found, other patients are told apart, and QC says what is the case."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lungct.audit.appearance import coarse_of, planes_of
from lungct.audit.duplicates import COARSE_LIMIT, find_links
from lungct.audit.finding import Finding
from lungct.audit.judge import judge
from lungct.audit.measure import measure_items
from lungct.audit.neighbours import best_pairs
from lungct.audit.run import AuditOptions, audit, read_all
from lungct.preprocessing.cases import Running

pytestmark = pytest.mark.real


def kinds_of(findings: list[Finding], case: str) -> set[str]:
    return {one.kind for one in findings if one.case == case}


def test_luna16_slices_hold_six_copies_with_a_nodule_each(real_data: Path, tmp_path: Path) -> None:
    """Six slices lie there twice, each time with the box of another of their nodules; no two series are alike."""
    found = audit([real_data / "luna16_slices"], tmp_path / "audit", AuditOptions(duplicates="resolve"))
    counts = Counter(one.kind for one in found.findings)
    assert counts == {"exact-duplicate": 6, "duplicate-boxes": 6, "noise": 16, "gray-8bit": 1}
    assert len((tmp_path / "audit" / "exclude.txt").read_text().splitlines()) == 6


def test_planted_copies_among_luna16_slices_are_found(real_data: Path) -> None:
    items = read_all([real_data / "luna16_slices"], AuditOptions())[::10]
    views = [coarse_of(planes_of(item.load().hu)) for item in items]
    copies = []
    for number, item in enumerate(items):
        hu = item.load().hu.astype(np.float64)
        grain = np.random.default_rng(number).normal(0, 30, hu.shape)
        copies.append(coarse_of(planes_of((hu + grain)[:, 3:, :-3])))
    vectors = np.stack([*views, *copies])
    pairs, _ = best_pairs(vectors, np.arange(len(vectors)), COARSE_LIMIT)
    expected = {(n, n + len(items)) for n in range(len(items))}
    of_other_series = {(a % len(items), b % len(items)) for a, b in pairs.tolist() if a % len(items) != b % len(items)}
    assert expected <= {(a, b) for a, b in pairs.tolist()}
    assert all(items[a].case_id == items[b].case_id for a, b in of_other_series)


def test_small_volumes(real_data: Path) -> None:
    """One scan as NRRD and as DICOM, masks that are no HU, an abdomen, and half a chest."""
    small = real_data / "small_volumes"
    items = read_all([small, small / "acil_ct64_dicom"], AuditOptions(source="volumes"))
    measured = measure_items(items, Running())
    links = find_links(items, measured)
    findings = judge(items, measured, links, 98)
    copied = [one for one in findings if one.kind == "exact-duplicate"]
    assert [one.other for one in copied] == ["1/ct-64"]
    assert copied[0].case.startswith("2/case-")
    assert sum(one.kind == "not-hu" for one in findings) == 2
    assert kinds_of(findings, "1/ct-64") == {"thick-slices"}
    assert sum(one.kind == "no-lung" for one in findings) == 1
    assert sum(one.kind == "little-lung" for one in findings) == 1


def test_a_whole_chest_ct_with_contrast(real_data: Path) -> None:
    items = read_all([real_data / "cptac_C3N-00247_dicom"], AuditOptions())
    findings = judge(items, measure_items(items, Running()), [], 98)
    assert [one.kind for one in findings] == ["thick-slices", "contrast"]
    assert findings[0].value == pytest.approx(3.0)
    assert 100 < float(findings[1].value) < 200
