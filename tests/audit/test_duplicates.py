"""Which copy is linked to which, and what the rule leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lungct.audit.duplicates import Link, find_links
from lungct.audit.items import Item
from lungct.audit.measure import measure_items
from lungct.audit.resolve import left_out
from lungct.preprocessing.cases import Running
from lungct.types import Volume

from .planted import box, found_in, image, scan


def links_of(items: Sequence[Item]) -> list[Link]:
    return find_links(items, measure_items(list(items), Running()))


def out_of(items: Sequence[Item]) -> set[str]:
    return {items[place].name for place in left_out(items, links_of(items))}


def noise(hu: np.ndarray, seed: int = 0) -> np.ndarray:
    return hu + np.random.default_rng(seed).normal(0, 20, hu.shape)


def test_of_copies_with_one_label_one_is_kept(chests: tuple[Volume, ...]) -> None:
    hu, mark = chests[0].hu[60], (box(9, 9),)
    exact = [image(f"i{n}", hu, markings=mark) for n in range(3)]
    assert out_of(exact) == {"i1", "i2"}
    assert out_of([image("a", hu, markings=mark), image("b", noise(hu), markings=mark)]) == {"b"}


def test_of_copies_with_different_labels_none_is_kept(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu[60]
    for other in (hu, noise(hu)):
        items = [
            image("a", hu, markings=(box(9, 9, label="A"),)),
            image("b", other, markings=(box(9, 9, label="B"),)),
            image("c", hu, markings=(box(9, 9, label="A"),)),
            image("d", chests[1].hu[60]),
        ]
        assert out_of(items) == {"a", "b", "c"}


def test_a_slice_with_a_nodule_and_its_copy_without_differ(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu[60]
    assert out_of([image("a", hu, markings=(box(9, 9),)), image("b", hu)]) == {"a", "b"}
    unknown = image("b", hu, truth_known=False)
    assert out_of([image("a", hu, markings=(box(9, 9),)), unknown]) == {"b"}


def test_the_copy_in_the_test_set_stays_and_else_the_one_of_most_boxes(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu[60]
    assert out_of([image(name, hu, split=name) for name in ("train", "val", "test")]) == {"train", "val"}
    one, two = (box(9, 9),), (box(9, 9), box(40, 40))
    assert out_of([image("a", hu, case_id="c"), image("b", hu, case_id="c", truth_known=False)]) == {"b"}
    same_case = [image(name, hu, case_id="c", truth_known=False, markings=m) for name, m in (("a", one), ("b", two))]
    assert out_of(same_case) == {"a"}


def test_a_whole_scan_copied_keeps_all_slices_of_one(chests: tuple[Volume, ...]) -> None:
    """Slices of one scan are never linked, so that a chain of neighbours does not shrink to one slice."""
    hu = chests[0].hu
    places = range(50, 70)
    ours = [image(f"a/{z}", hu[z], case_id="a") for z in places]
    copies = [image(f"b/{z}", noise(hu[z], z), case_id="b") for z in places]
    assert out_of([*ours, *copies]) == {item.name for item in copies}


def test_scans_and_images_are_not_held_against_each_other(chests: tuple[Volume, ...]) -> None:
    hu = chests[0].hu
    flat = Volume(hu[60:61], chests[0].grid)
    assert links_of([scan("a", flat), image("b", hu[60])]) == []


def test_same_voxels_whatever_their_number_type_or_clipping(chests: tuple[Volume, ...]) -> None:
    hu, grid = chests[0].hu, chests[0].grid
    kinds = [hu, hu.astype(np.float32), hu.clip(-1000, 500).astype(np.int32)]
    links = links_of([scan(f"s{n}", Volume(one, grid)) for n, one in enumerate(kinds)])
    assert [(link.kept, link.left, link.kind) for link in links] == [
        (0, 1, "exact-duplicate"),
        (0, 2, "exact-duplicate"),
    ]


def test_copies_of_one_patient_in_two_splits_are_the_patients_leak(chests: tuple[Volume, ...]) -> None:
    items = [scan(name, chests[0], split=name, patient_id="p") for name in ("train", "test")]
    assert {one.kind for one in found_in(items)} == {"leak-patient", "exact-duplicate"}
