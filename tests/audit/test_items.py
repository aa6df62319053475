"""The same scans and labels are found in a raw source, in what preprocess and in what select-slices wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungct.audit.items import Item, read_items
from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules
from lungct.phantom.dataset import PhantomOptions, write_phantoms
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.source import SourceOptions

PATIENTS = ("PHANTOM_0001", "PHANTOM_0002", "PHANTOM_0003")


def items_of(path: Path, prefix: str = "") -> list[Item]:
    return read_items(path, 1, None, SourceOptions(), prefix=prefix)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``raw/``, ``out/`` and ``slices/`` of three patients."""
    root = tmp_path_factory.mktemp("chain")
    write_phantoms(root / "raw", PhantomOptions(patients=3, size=80, slices=40, seed=5))
    preprocess(root / "raw", root / "out", PreprocessOptions(volume=VolumeOptions((4.0, 4.0, 2.0))))
    select_slices(root / "out", root / "slices")
    return root


def test_scans_of_a_raw_source_and_of_preprocess(chain: Path) -> None:
    raw, written = items_of(chain / "raw", "2/"), items_of(chain / "out", "2/")
    for items in (raw, written):
        assert [item.name for item in items] == [f"2/{name}" for name in PATIENTS]
        assert all(item.is_scan and item.plain_name == item.case_id == item.patient_id for item in items)
    (nodule, *_) = read_nodules(chain / "raw" / "DLCSD24_Annotations.csv")
    first = next(item for item in raw if item.case_id == nodule.case_id).markings[0]
    np.testing.assert_allclose(np.subtract(first.high, first.low), nodule.size_mm)
    np.testing.assert_allclose(np.add(first.high, first.low) / 2, nodule.center_lps_mm)
    assert first.says() == f"nodule, malignant {nodule.malignant}"
    assert [item.labels() for item in raw] == [item.labels() for item in written]


def test_the_raw_spacing_is_told_by_the_manifest(chain: Path) -> None:
    for raw, written in zip(items_of(chain / "raw"), items_of(chain / "out"), strict=True):
        assert raw.input_spacing_mm_zyx is None
        assert written.input_spacing_mm_zyx == pytest.approx(raw.load().grid.spacing_mm_zyx)
        assert written.load().grid.spacing_mm_zyx == pytest.approx((2.0, 4.0, 4.0))


def test_slices_with_their_split_scan_and_boxes(chain: Path) -> None:
    items = items_of(chain / "slices")
    assert len(items) > 8
    assert {item.split for item in items} >= {"train", "test"}
    for item in items:
        assert item.name == f"{item.case_id}/{item.name[-4:]}"
        assert not item.is_scan
    marked = next(item for item in items if item.markings)
    assert marked.markings[0].nodule_id.startswith(marked.case_id)
    assert len(marked.markings[0].low) == 2
    volume = marked.load()
    assert len(volume.hu) == 1
    assert volume.grid.spacing_mm_zyx[1:] == (4.0, 4.0)


def write_voc(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for name, value in (("0001", 10), ("0002", 200)):
        Image.fromarray(np.full((20, 30), value, np.uint8)).save(folder / "images" / f"{name}.png")
        box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"
        (folder / "annotations" / f"{name}.xml").write_text(
            f"<annotation><object><name>A</name>{box}</object></annotation>"
        )


def test_images_of_a_raw_2d_source_and_of_preprocess(tmp_path: Path) -> None:
    write_voc(tmp_path / "flat")
    preprocess(tmp_path / "flat", tmp_path / "out")
    raw, written = items_of(tmp_path / "flat"), items_of(tmp_path / "out")
    assert [item.name for item in raw] == [item.name for item in written]
    for one, other in zip(raw, written, strict=True):
        np.testing.assert_array_equal(one.load().hu, other.load().hu)
        assert one.markings[0].low == other.markings[0].low == (3.5, 4.5)
        assert one.load().hu.shape == (1, 20, 30)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError):
            items_of(path)
