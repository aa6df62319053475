"""Each kind of finding is planted once and found; chests without fault give none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lungct.audit.finding import KINDS, Finding
from lungct.audit.items import Item
from lungct.errors import InputError
from lungct.types import Grid, Volume

from .planted import box, found_in, image, kinds, scan

Chests = tuple[Volume, ...]


def changed(volume: Volume, **changes: object) -> Volume:
    """The volume with another ``hu``, or with its grid's facts changed."""
    hu = changes.pop("hu", volume.hu)
    assert isinstance(hu, np.ndarray)
    return Volume(hu, replace(volume.grid, shape_zyx=hu.shape, **changes))  # type: ignore[arg-type]


def straight(volume: Volume, spacing_mm_zyx: tuple[float, float, float] = (2.0, 2.5, 2.5)) -> Volume:
    return Volume(volume.hu, Grid(volume.hu.shape, spacing_mm_zyx, (0.0, 0.0, 0.0)))  # type: ignore[arg-type]


def axes(*columns: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(np.array(columns).T.ravel().tolist())


def middle(chests: Chests, number: int) -> np.ndarray:
    return chests[number].hu[60]


def unreadable(chests: Chests) -> list[Item]:
    def load() -> Volume:
        raise InputError.of("/data/Doe^Jane/scan.nii.gz", "truncated")

    return [replace(scan("a", chests[0]), load=load)]


def noisy(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(-500, 20 + number, (40, 40))


def enhanced(volume: Volume) -> Volume:
    """Blood, and with it all soft tissue, 150 HU brighter."""
    return changed(volume, hu=np.where((volume.hu > 0) & (volume.hu < 150), volume.hu + 150, volume.hu))


def one_lung(volume: Volume) -> Volume:
    """The air left of the middle, but for a margin, filled with water."""
    hu = volume.hu.copy()
    hu[:, 30:98, 15:64] = hu[:, 30:98, 15:64].clip(0)
    return changed(volume, hu=hu)


def renamed(volume: Volume, number: int) -> Item:
    return scan(f"{number}/case-0123456789", volume, data_set=number, case_id="case-0123456789")


PLANTED: Mapping[str, Callable[[Chests], Sequence[Item]]] = {
    "unreadable": unreadable,
    "leak-patient": lambda c: [
        scan(f"s{n}", c[n], patient_id="p", split=name) for n, name in enumerate(("train", "test"))
    ],
    "leak-series": lambda c: [
        image(f"s/{n}", noisy(n), case_id="s", patient_id="p", split=name) for n, name in enumerate(("train", "val"))
    ],
    "leak-duplicate": lambda c: [scan(name, c[0], split=name) for name in ("train", "test")],
    "not-hu": lambda c: [scan("a", changed(c[0], hu=c[0].hu.astype(np.int32) + 1024))],
    "constant-image": lambda c: [image("a", np.zeros((30, 30)))],
    "no-lung": lambda c: [scan("a", changed(c[0], hu=c[0].hu[:, :45, :45]))],
    "duplicate-conflict": lambda c: [
        image(f"i{n}", middle(c, 0), markings=(box(9, 9, malignant=n),)) for n in range(2)
    ],
    "nodule-conflict": lambda c: [
        image(f"s/{n}", noisy(n), case_id="s", markings=(box(9, 9, nodule_id="n", malignancy=n + 1),)) for n in range(2)
    ],
    "box-conflict": lambda c: [image("a", noisy(0), markings=(box(5, 5, label="A"), box(6, 6, label="B")))],
    "exact-duplicate": lambda c: [scan("a", c[0]), scan("b", changed(c[0], hu=c[0].hu.astype(np.float32)))],
    "near-duplicate": lambda c: [
        scan("a", c[0]),
        scan("b", changed(c[0], hu=c[0].hu + np.random.default_rng(0).normal(0, 25, c[0].hu.shape))),
    ],
    "shared-slices": lambda c: [scan("a", c[0]), scan("b", changed(c[0], hu=c[0].hu[20:90]))],
    "duplicate-boxes": lambda c: [image(f"i{n}", middle(c, 0), markings=(box(9 + 40 * n, 9),)) for n in range(2)],
    "repeated-box": lambda c: [image("a", noisy(0), markings=(box(5, 5), box(6, 5)))],
    "overlap": lambda c: [renamed(c[0], 1), renamed(c[0], 2)],
    "little-lung": lambda c: [scan("a", one_lung(c[0]))],
    "cut-lung": lambda c: [scan("a", changed(c[0], hu=c[0].hu[55:]))],
    "truncated-field": lambda c: [scan("a", changed(c[0], hu=c[0].hu[:, 34:-34, 16:-16]))],
    "slice-gap": lambda c: [scan("a", changed(c[0], hu=np.delete(c[0].hu, range(60, 65), axis=0)))],
    "repeated-slice": lambda c: [scan("a", changed(c[0], hu=np.insert(c[0].hu, 61, c[0].hu[60], axis=0)))],
    "constant-slice": lambda c: [
        scan("a", changed(c[0], hu=np.concatenate([c[0].hu, np.full_like(c[0].hu[:2], -1000)])))
    ],
    "thick-slices": lambda c: [scan("a", straight(c[0], (5.0, 2.5, 2.5)))],
    "not-axial": lambda c: [scan("a", changed(c[0], direction=axes((1, 0, 0), (0, 0, -1), (0, 1, 0))))],
    "oblique": lambda c: [
        scan("a", changed(c[0], direction=axes((0.9, 0.436, 0), (-0.436, 0.9, 0), (0, 0, 1)))),
    ],
    "anisotropy": lambda c: [scan("a", straight(c[0], (2.0, 2.5, 2.7)))],
    "noise": lambda c: [image(f"i{n}", noisy(n)) for n in range(50)],
    "contrast": lambda c: [scan("a", enhanced(c[0]))],
    "gray-8bit": lambda c: [
        image("a", np.round(middle(c, 0).astype(float).clip(-1000, 400) * 255 / 1400) * 1400 / 255)
    ],
    "same-name": lambda c: [renamed(c[0], 1), renamed(c[1], 2)],
}


def test_every_kind_is_planted() -> None:
    assert list(PLANTED) == list(KINDS)


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_is_found(kind: str, chests: Chests) -> None:
    assert kind in kinds(found_in(PLANTED[kind](chests)))


EXPECTED_BESIDE = {
    "leak-duplicate": {"exact-duplicate"},
    "duplicate-conflict": {"exact-duplicate"},
    "duplicate-boxes": {"exact-duplicate"},
    "overlap": {"exact-duplicate"},
    "shared-slices": {"cut-lung"},
    "not-axial": {"slice-gap", "truncated-field"},  # the header is wrong, so what is called a slice is none
    "truncated-field": {"little-lung"},
}


@pytest.mark.parametrize("kind", PLANTED)
def test_little_else_is_found(kind: str, chests: Chests) -> None:
    beside = set(kinds(found_in(PLANTED[kind](chests)))) - {kind} - EXPECTED_BESIDE.get(kind, set())
    assert not beside


def test_chests_without_fault_give_no_finding(chests: Chests) -> None:
    items = [scan(f"s{n}", volume, split=("train", "val", "test")[n]) for n, volume in enumerate(chests)]
    items += [
        image(f"s{n}/{z}", volume.hu[z], case_id=f"s{n}", patient_id=f"patient of s{n}", split=items[n].split)
        for n, volume in enumerate(chests)
        for z in range(40, 80, 4)
    ]
    assert found_in(items) == []


def test_what_cannot_be_read_is_told_without_its_path(chests: Chests) -> None:
    (found,) = found_in(unreadable(chests))
    assert found == Finding("unreadable", "a", "reason", "truncated")
