"""LUNA16: subsets, votes, excluded findings, listed scans, and the real tables."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules
from lungct.io.coco import read_truth
from lungct.io.manifest import read_manifest
from lungct.io.points_csv import read_points
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.pseudonym import Naming, pseudonym
from lungct.sources.source import SourceOptions, read_source
from lungct.types import Finding, Grid

from .layout_writers import UID, luna16, write_volume
from .spheres import scan_of, two_spheres

GRID = Grid((26, 30, 34), (1.6, 1.2, 0.9), (-15.0, -18.0, 300.0))
CASE = pseudonym("case", UID)
NATIVE = PreprocessOptions(volume=VolumeOptions(None))
VOTES = "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details,bboxLowX\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    luna16(tmp_path / "luna", GRID, two_spheres(GRID))
    return tmp_path / "luna"


def add_scan(folder: Path, uid: str, subset: str = "subset0") -> None:
    write_volume(folder / subset / f"{uid}.mhd", scan_of(GRID, [], seed=int(uid[-1])))


def votes_of(first: str, second: str = "[5]") -> str:
    """The votes table's own spelling of the same coordinates, with other last digits."""
    rows = [
        f'{UID},{",".join(f"{value + 1e-9:.12f}" for value in one.center_lps_mm)},{one.diameter_mm},True,"{votes}",1'
        for one, votes in zip(two_spheres(GRID), (first, second), strict=True)
    ]
    return VOTES + "\n".join(rows) + "\n"


def test_subsets_masks_and_listed_scans(folder: Path) -> None:
    for uid in ("1.2.840.1.4", "1.2.840.1.5"):
        add_scan(folder, uid)
    with open(folder / "seriesuids.csv", "a") as stream:
        stream.write("1.2.840.1.4\r\n")
    contents = read_source(folder, None, SourceOptions(naming=Naming(keep_ids=True)))
    assert contents.name == "luna16"
    assert [(scan.case_id, scan.attributes, len(scan.nodules), scan.truth_known) for scan in contents.scans] == [
        ("1.2.840.1.4", {"subset": 0}, 0, True),
        ("1.2.840.1.5", {"subset": 0}, 0, False),
        (UID, {"subset": 3}, 2, True),
    ]
    (folder / "seriesuids.csv").unlink()
    assert all(scan.truth_known for scan in read_source(folder).scans)


def test_excluded_findings_are_carried_to_the_output_and_back(folder: Path, tmp_path: Path) -> None:
    x, y, z = two_spheres(GRID)[0].center_lps_mm
    finding = Finding((x + 9, y, z), -1.0)
    preprocess(folder, tmp_path / "out", NATIVE)
    assert [one[:2] for one in read_points(tmp_path / "out" / "excluded.csv")] == [(CASE, finding)]
    assert len(read_nodules(tmp_path / "out" / "nodules.csv")) == 2
    (scan,) = read_source(tmp_path / "out").scans
    assert scan.excluded == (finding,)
    preprocess(tmp_path / "out", tmp_path / "again", NATIVE)
    names = ("nodules.csv", "excluded.csv")
    assert [(tmp_path / "again" / one).read_text() for one in names] == [
        (tmp_path / "out" / one).read_text() for one in names
    ]


def test_without_excluded_findings_there_is_no_table_of_them(folder: Path, tmp_path: Path) -> None:
    (folder / "annotations_excluded.csv").unlink()
    preprocess(folder, tmp_path / "out", NATIVE)
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"scans", "nodules.csv", "manifest.ndjson"}


@pytest.mark.parametrize("alone", [False, True])
def test_votes_beside_the_table_or_for_it(folder: Path, tmp_path: Path, alone: bool) -> None:
    (folder / "annotations_with_malignancy.csv").write_text(votes_of("[4, 2, 4, 2]"))
    if alone:
        (folder / "annotations.csv").unlink()
    preprocess(folder, tmp_path / "out", NATIVE)
    first, second = read_nodules(tmp_path / "out" / "nodules.csv")
    assert (first.malignancy, second.malignancy, first.malignant, first.source) == (3.0, 5.0, None, "luna16")
    assert first.attributes == {"subset": 3, "malignancy_votes": "4 2 4 2", "mal_bool": 1}
    select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(negatives=0))
    truths = [read_truth(tmp_path / "slices" / f"{name}.json") for name in ("train", "val", "test")]
    notes = [note.attributes for truth in truths for note in truth.annotations]
    assert {note["malignancy_votes"] for note in notes} == {"4 2 4 2", 5}
    assert {note["malignancy"] for note in notes} == {3.0, 5.0}
    assert {image.lungct["subset"] for truth in truths for image in truth.images} == {3}
    assert read_manifest(tmp_path / "out")[1]["attributes"] == {"subset": 3}


def test_a_nodule_without_votes_has_no_malignancy(folder: Path) -> None:
    lines = votes_of("[1, 1]").splitlines()
    (folder / "annotations_with_malignancy.csv").write_text("\n".join(lines[:2]) + "\n")
    (scan,) = read_source(folder).scans
    assert [one.malignancy for one in scan.nodules] == [1.0, None]


@pytest.mark.parametrize("votes", ["[]", "[6]", "4, 2", "[4; 2]", ""])
def test_broken_votes_are_named(folder: Path, votes: str) -> None:
    (folder / "annotations_with_malignancy.csv").write_text(votes_of(votes))
    with pytest.raises(InputError, match=r"line 2: mal_details is .* expected votes from 1 to 5"):
        read_source(folder)


@pytest.mark.parametrize("diameter", ["0", "-1"])
def test_a_nodule_needs_a_diameter(folder: Path, diameter: str) -> None:
    table = folder / "annotations.csv"
    table.write_text(table.read_text().replace(",8.0", f",{diameter}"))
    with pytest.raises(InputError, match=f"annotations.csv: line 2: diameter_mm is {diameter}"):
        read_source(folder)


def test_scans_that_are_not_there(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = folder / "annotations.csv"
    rows = table.read_text()
    table.write_text(rows + "1.9.8.7.6,1,2,3,4\n")
    with caplog.at_level(logging.WARNING, "lungct"):
        assert len(read_source(folder).scans) == 1
    assert "1 of 2 annotated scans are not in the folder" in caplog.text
    assert "1.9.8.7.6" not in caplog.text
    table.write_text(rows.replace(UID, "1.9.8.7.6"))
    with pytest.raises(InputError, match="none of its 1 scans is in the folder") as caught:
        read_source(folder)
    assert "1.9.8.7.6" not in str(caught.value)


@pytest.mark.parametrize("place", ["CSVFILES", "evaluationScript/annotations"])
def test_tables_where_the_archives_have_them(folder: Path, place: str) -> None:
    (folder / place).mkdir(parents=True)
    for name in ("annotations.csv", "annotations_excluded.csv", "seriesuids.csv"):
        (folder / name).rename(folder / place / name)
    (scan,) = read_source(folder).scans
    assert (len(scan.nodules), len(scan.excluded), scan.source) == (2, 1, "luna16")


HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -400 -400 -2000
ElementSpacing = 1 1 1
DimSize = 800 800 4000
ElementType = MET_SHORT
ElementDataFile = voxels.raw
"""


@pytest.mark.real
def test_the_real_tables(real_data: Path, tmp_path: Path) -> None:
    """All of LUNA16 with headers in place of its scans."""
    shutil.copytree(real_data / "luna16_csv", tmp_path / "in")
    uids = (tmp_path / "in" / "seriesuids.csv").read_text().split()
    for number, uid in enumerate(uids):
        (tmp_path / "in" / f"subset{number % 10}").mkdir(exist_ok=True)
        (tmp_path / "in" / f"subset{number % 10}" / f"{uid}.mhd").write_text(HEADER)
    scans = read_source(tmp_path / "in").scans
    nodules = [one for scan in scans for one in scan.nodules]
    assert (len(scans), len(nodules), sum(len(scan.excluded) for scan in scans)) == (888, 1186, 35192)
    assert sum(not scan.nodules for scan in scans) == 287
    assert all(scan.truth_known for scan in scans)
    voted = [one for one in nodules if one.malignancy is not None]
    assert len(voted) == 1182
    assert {len(str(one.attributes["malignancy_votes"]).split()) for one in voted} == {3, 4, 5, 6, 7}
    assert min(one.diameter_mm for one in nodules) > 3
