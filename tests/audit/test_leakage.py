"""When names mean one scan or patient, within and between data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lungct.audit.duplicates import Link
from lungct.audit.finding import Finding
from lungct.audit.items import Item
from lungct.audit.leakage import findings
from lungct.types import Grid, Volume

from .planted import image, scan

EMPTY = Volume(np.zeros((1, 2, 2)), Grid((1, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
SERIES = "case-0123456789"


def of(number: int, case: str, *, is_scan: bool = True, **facts: Any) -> Item:
    known = {"data_set": number, "case_id": case, "patient_id": case, **facts}
    name = f"{number}/{case}"
    return scan(name, EMPTY, **known) if is_scan else image(f"{name}/1", EMPTY.hu[0], **known)


def found(items: list[Item], *links: Link) -> list[Finding]:
    return list(findings(items, links))


def kinds(items: list[Item], *links: Link) -> list[str]:
    return [one.kind for one in found(items, *links)]


COPY = Link(0, 1, "near-duplicate", 0.9)


def test_split_names_are_read_as_sources_spell_them() -> None:
    items = [of(1, "a", split="Training", patient_id="p"), of(1, "b", split="test_set", patient_id="p")]
    (leak,) = found(items)
    assert (leak.kind, leak.case, leak.value, leak.other) == ("leak-patient", "p", "train, test", "1/b")


def test_a_scan_in_two_splits_is_one_finding_not_two() -> None:
    items = [of(1, "a", split=name, patient_id="p") for name in ("train", "val")]
    assert kinds(items) == ["leak-series"]
    assert kinds([*items, of(1, "b", split="test", patient_id="p")]) == ["leak-series"]
    others = [of(1, name, split=split, patient_id="p") for name, split in (("b", "test"), ("c", "train"))]
    assert kinds([*items, *others]) == ["leak-series", "leak-patient"]


def test_without_splits_there_is_no_leak() -> None:
    assert kinds([of(1, "a", patient_id="p"), of(1, "b", patient_id="p", split="train")]) == []


def test_a_series_in_two_data_sets_is_an_overlap_and_over_splits_a_leak() -> None:
    """As LUNA16, whose scans are some of LIDC-IDRI's: the same UID gives the same pseudonym under one key."""
    slices, scans = of(1, SERIES, is_scan=False), of(2, SERIES)
    assert kinds([slices, scans]) == ["overlap"]
    assert kinds([of(1, SERIES), of(2, SERIES)], COPY) == ["overlap"]
    leaking = [of(1, SERIES, split="train"), of(2, SERIES, split="test")]
    assert kinds(leaking, COPY) == ["leak-series"]


def test_one_name_for_scans_that_are_no_copies() -> None:
    assert kinds([of(1, SERIES), of(2, SERIES)]) == ["same-name"]
    assert kinds([of(1, SERIES, split="train"), of(2, SERIES, split="test")][::-1])[0] == "same-name"


@pytest.mark.parametrize("name", ["case_0001", "0001", "PHANTOM_0007", "image-0123456789", "patient12"])
def test_numbering_is_no_identity(name: str) -> None:
    assert kinds([of(1, name, is_scan=False, split="train"), of(2, name, is_scan=False, split="test")]) == []
    assert kinds([of(1, name, split="train"), of(1, name, split="test")]) == ["leak-series"]


@pytest.mark.parametrize("name", ["DLCS_0001", "LIDC-IDRI-0012", "100012", "Lung_Dx-A0001"])
def test_published_patients_are_the_same_everywhere(name: str) -> None:
    items = [of(1, "a", patient_id=name, split="train"), of(2, "b", patient_id=name, split="test")]
    assert kinds(items) == ["leak-patient"]
