"""LIDC-IDRI: readers' contours become the nodules that were drawn, where they are, by the readers who drew them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules
from lungct.io.coco import read_truth
from lungct.io.dicom import SliceHeader
from lungct.io.dicom_pixels import StoredPixels
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.sources.lidc import _scan_of
from lungct.sources.lidc_readings import CT_READING, Contour, read_reading
from lungct.sources.source import SourceOptions, read_source
from lungct.sources.xml_files import root_of
from lungct.types import Grid, Scan

from .dicom_writer import SERIES, write_volume
from .lidc_writer import ORIGIN_XYZ, SHAPE, SPACING_ZYX, Ball, outer_ring, reading_xml, roi, scan_hu, write_lidc
from .spheres import grids

BIG = Ball((7.3, 20.6, 22.4), 6.0, {0: {"malignancy": 5}, 1: {"malignancy": 4}, 2: {"malignancy": 4}, 3: {}})
SMALL = Ball((13.0, 44.0, 50.3), 4.0, {1: {"malignancy": 2, "texture": 4}, 2: {"malignancy": 1}})


def only_scan(folder: Path, readers: int = 3) -> Scan:
    (scan,) = read_source(folder, None, SourceOptions(lidc_readers=readers)).scans
    return scan


@settings(deadline=None)
@given(st.integers(1, 12), st.floats(0.6, 5), st.floats(0.6, 5))
def test_what_a_ring_of_outer_pixels_encloses(size: int, a: float, b: float) -> None:
    y, x = np.mgrid[:40, :40]
    mask = ((x - 20 - size / 13) / a) ** 2 + ((y - 19) / b) ** 2 <= 1
    if not mask.any():
        return
    x0, y0, inside = Contour("", 0.0, np.array(outer_ring(mask)), False).inside()
    found = np.zeros_like(mask)
    found[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] = inside
    assert (found == mask).all()


def test_layout_is_found_and_named(tmp_path: Path) -> None:
    write_lidc(tmp_path, [BIG])
    contents = read_source(tmp_path)
    assert contents.name == "lidc"
    (scan,) = contents.scans
    assert scan.patient_id == "LIDC-IDRI-0001"
    assert scan.case_id.startswith("case-")
    assert scan.nodules[0].nodule_id == f"{scan.case_id}_01"
    assert scan.load().hu.shape == SHAPE


@pytest.mark.parametrize(("readers", "nodules", "excluded"), [(1, 2, 0), (2, 2, 0), (3, 1, 1), (4, 1, 1)])
def test_nodules_are_what_enough_readers_drew(tmp_path: Path, readers: int, nodules: int, excluded: int) -> None:
    write_lidc(tmp_path, [BIG, SMALL])
    scan = only_scan(tmp_path, readers)
    assert (len(scan.nodules), len(scan.excluded)) == (nodules, excluded)
    assert scan.nodules[0].malignancy == 4.25
    assert scan.nodules[0].attributes["readers"] == 4
    assert scan.nodules[0].attributes["malignancy_votes"] == "5 4 4 4"
    if nodules == 2:
        assert scan.nodules[1].malignancy == 1.5
        assert scan.nodules[1].attributes["texture"] == 4.5
    else:
        np.testing.assert_allclose(scan.excluded[0].center_lps_mm, SMALL.center_lps_mm, atol=1.3)


@settings(deadline=None, max_examples=30)
@given(st.tuples(st.floats(5, 14), st.floats(14, 50), st.floats(14, 58)), st.floats(3.0, 7.0))
def test_box_is_that_of_the_ball(
    tmp_path_factory: pytest.TempPathFactory, center: tuple[float, float, float], radius: float
) -> None:
    """The box of all voxels whose centres lie in the ball; half a voxel is what they can be off its centre."""
    ball = Ball(center, radius, {reader: {} for reader in range(4)})
    scan = scan_of(tmp_path_factory.getbasetemp(), [header(z) for z in range(SHAPE[0])], [ball])
    (nodule,) = scan.nodules
    off = np.abs(np.array(nodule.center_lps_mm) - ball.center_lps_mm) / SPACING_ZYX[::-1]
    assert off.max() <= 0.5
    drawn = np.ptp(np.argwhere(ball.distance_mm() < radius), axis=0) + 1
    np.testing.assert_allclose(nodule.size_mm, (drawn * SPACING_ZYX)[::-1])


@settings(deadline=None, max_examples=30)
@given(grids())
def test_directions_of_every_kind(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> None:
    """Readers draw on pixels; which way these lie in the world is for the headers to say."""
    x, y, normal = grid.direction_matrix.T
    sign = np.sign(
        np.linalg.det(grid.direction_matrix)
    )  # slices are counted along the normal of their plane or against
    slices = range(SHAPE[0])
    headers = [
        header(
            z,
            orientation=(*x, *y),
            position_lps_mm=tuple(np.array(ORIGIN_XYZ) + sign * normal * z * SPACING_ZYX[0]),
        )
        for z in slices
    ]
    (nodule,) = scan_of(tmp_path_factory.getbasetemp(), headers, [BIG]).nodules
    z, row, column = BIG.center_zyx
    center = np.array(ORIGIN_XYZ) + sign * normal * z * SPACING_ZYX[0]
    center = center + x * column * SPACING_ZYX[2] + y * row * SPACING_ZYX[1]
    off = grid.direction_matrix.T @ (np.array(nodule.center_lps_mm) - center)
    assert (np.abs(off) <= np.array(SPACING_ZYX[::-1]) / 2 + 1e-6).all()


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_tilted_gantry_moves_nothing(tmp_path: Path, flip: float) -> None:
    """Contours are drawn on the slices as they are; the box is where these slices say that they lie."""
    angle = np.radians(18)
    orientation = (flip, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    headers = [header(z, orientation=orientation) for z in range(SHAPE[0])]
    (nodule,) = scan_of(tmp_path, headers, [BIG]).nodules
    z, y, x = BIG.center_zyx
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    corner = np.array([*ORIGIN_XYZ[:2], ORIGIN_XYZ[2] + z * SPACING_ZYX[0]])
    center = corner + row * x * SPACING_ZYX[2] + column * y * SPACING_ZYX[1]
    off = np.abs(np.array(nodule.center_lps_mm) - center)
    assert (off <= np.array([0.35, 0.9, 1.3])).all()


def test_holes_are_no_nodule(tmp_path: Path) -> None:
    solid, hole = [(10, 10), (20, 10), (20, 20), (10, 20)], [(14, 9), (21, 9), (21, 21), (14, 21)]
    ratings = "<characteristics><malignancy>3</malignancy></characteristics>"
    rois = roi(hole, "1.3", 0, "FALSE") + roi(solid, "1.3", 0)
    extra = f"<unblindedReadNodule><noduleID>1</noduleID>{ratings}{rois}</unblindedReadNodule>"
    (nodule,) = scan_of(tmp_path, [header(z) for z in range(9)], [], extra, readers=1).nodules
    np.testing.assert_allclose(nodule.size_mm, np.array([4, 9, 1]) * SPACING_ZYX[::-1])
    first = np.array(ORIGIN_XYZ) + np.array([10.5, 10.5, 2.5]) * SPACING_ZYX[::-1]
    np.testing.assert_allclose(np.array(nodule.center_lps_mm) - np.array(nodule.size_mm) / 2, first)
    assert (nodule.malignancy, nodule.attributes) == (3, {"readers": 1, "malignancy_votes": "3"})


@pytest.mark.parametrize(
    "mark",
    [
        f"<unblindedReadNodule><noduleID>1</noduleID>{roi([(30, 20)], '1.4', 0)}</unblindedReadNodule>",
        "<unblindedReadNodule><noduleID>1</noduleID><characteristics><subtlety>0</subtlety></characteristics>"
        f"{roi([(30, 20), (30, 20)], '1.4', 0)}</unblindedReadNodule>",
        "<nonNodule><nonNoduleID>1</nonNoduleID><imageZposition>0</imageZposition><imageSOP_UID>1.4</imageSOP_UID>"
        "<locus><xCoord>30</xCoord><yCoord>20</yCoord></locus></nonNodule>",
    ],
)
def test_small_nodules_and_non_nodules_are_excluded_findings(tmp_path: Path, mark: str) -> None:
    scan = scan_of(tmp_path, [header(z) for z in range(9)], [], mark, readers=1)
    assert scan.nodules == ()
    (finding,) = scan.excluded
    assert finding.diameter_mm == -1
    np.testing.assert_allclose(finding.center_lps_mm, np.array(ORIGIN_XYZ) + np.array([30, 20, 4]) * SPACING_ZYX[::-1])


def test_outlines_without_ratings_are_left_out(tmp_path: Path) -> None:
    line = roi([(10, 10), (20, 10), (20, 20), (10, 20)], "1.3", 0)
    scan = scan_of(tmp_path, [header(z) for z in range(9)], [], f"<unblindedReadNodule>{line}</unblindedReadNodule>", 1)
    assert scan.truth_known
    assert (scan.nodules, scan.excluded) == ((), ())


def test_of_two_slices_at_one_height_contours_of_either_count(tmp_path: Path) -> None:
    headers = [header(z) for z in range(SHAPE[0])]
    doubled = [*headers, replace(headers[7], sop_uid="1.99", instance_number=-1, path=Path("double"))]
    text = reading_xml([BIG], ["1.99" if z == 7 else f"1.{z}" for z in range(SHAPE[0])], SERIES)
    scan = scan_of(tmp_path, doubled, [], text=text)
    assert scan.nodules == scan_of(tmp_path, headers, [BIG]).nodules


def test_files_written_anew_are_found_by_height(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    headers = [header(z) for z in range(SHAPE[0])]
    other = [replace(one, sop_uid=f"2.25.{n}") for n, one in enumerate(headers)]
    expected = scan_of(tmp_path, headers, [BIG]).nodules
    assert scan_of(tmp_path, other, [BIG]).nodules == expected
    assert not caplog.text
    scan_of(tmp_path, headers[:8], [BIG])
    assert "contours lie on slices that are not there" in caplog.text


def test_readings_may_lie_anywhere_and_strangers_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uids = write_lidc(tmp_path / "LIDC-IDRI", [BIG])
    write_volume(tmp_path / "LIDC-IDRI" / "b", scan_hu([], 1), SPACING_ZYX, SeriesInstanceUID="1.2.3.9", PatientID="Q")
    (xml,) = tmp_path.rglob("*.xml")
    elsewhere = tmp_path / "LIDC-XML-only" / "tcia-lidc-xml" / "185"
    elsewhere.mkdir(parents=True)
    xml.rename(elsewhere / "069.xml")
    (elsewhere / "068.xml").write_text('<IdriReadMessage xmlns="http://www.nih.gov/idri"/>')
    (elsewhere / "070.xml").write_text(reading_xml([SMALL], uids, SERIES))
    (elsewhere / "071.xml").write_text(reading_xml([SMALL], uids, "1.2.3.10"))
    (elsewhere / "max.xml").write_text("<notes/>")
    contents = read_source(tmp_path)
    assert contents.name == "lidc"
    assert sorted((len(one.nodules), one.truth_known) for one in contents.scans) == [(0, False), (1, True)]
    for words in (
        "1 files left out: readings of chest X-rays",
        "1 files left out: second readings of a series",
        "1 files left out: XML files of another kind",
        "1 readings left out: their series is not there",
    ):
        assert words in caplog.text


def test_a_series_that_is_no_volume_says_so_when_loaded(tmp_path: Path) -> None:
    write_lidc(tmp_path, [BIG], ImagePositionPatient=lambda z: [0.0, 0.0, 2.5 * z + 9 * (z > 5)])
    scan = only_scan(tmp_path)
    assert not scan.truth_known
    with pytest.raises(InputError, match="uneven slice spacing"):
        scan.load()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("</LidcReadMessage>", "", "not readable as XML"),
        (f"<SeriesInstanceUid>{SERIES}</SeriesInstanceUid>", "", "no SeriesInstanceUid"),
        ("<xCoord>", "<xCoord>Doe", "a xCoord is no whole number"),
        ("<xCoord>", "<xCoord>9999999", "a xCoord is 9999999"),
        ("<imageZposition>", "<imageZposition>Doe", "an imageZposition is no number"),
        ("<malignancy>", "<malignancy>-", "a malignancy is -"),
    ],
)
def test_broken_readings_are_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    write_lidc(tmp_path, [BIG], patient="Doe")
    (xml,) = tmp_path.rglob("*.xml")
    xml.write_text(xml.read_text().replace(old, new))
    with pytest.raises(InputError, match=words) as caught:
        read_source(tmp_path)
    assert "Doe" not in str(caught.value)
    assert SERIES not in str(caught.value)


@pytest.mark.parametrize("spacing", [None, (0.703125, 0.703125, 1.25)])
def test_boxes_on_slices_lie_on_the_balls(tmp_path: Path, spacing: tuple[float, float, float] | None) -> None:
    write_lidc(tmp_path / "in", [BIG, SMALL])
    reading = SourceOptions(lidc_readers=2)
    preprocess(tmp_path / "in", tmp_path / "out", PreprocessOptions(None, VolumeOptions(spacing), reading=reading))
    rows = read_nodules(tmp_path / "out" / "nodules.csv")
    assert [row.malignancy for row in rows] == [4.25, 1.5]
    assert [row.attributes["readers"] for row in rows] == [4, 2]
    select_slices(tmp_path / "out", tmp_path / "slices", SelectOptions(negatives=0))
    boxes = 0
    for split in ("train", "val", "test"):
        truth = read_truth(tmp_path / "slices" / f"{split}.json")
        for note in truth.annotations:
            image = next(one for one in truth.images if one.id == note.image_id)
            ball = BIG if str(note.attributes["nodule_id"]).endswith("_01") else SMALL
            x1, y1, x2, y2 = note.box_xyxy_px
            pixel = np.array([(x1 + x2) / 2 - 0.5, (y1 + y2) / 2 - 0.5])
            found = np.array(image.lungct["origin_mm"])[:2] + pixel * image.lungct["spacing_mm"][:2]
            # half a voxel of the scan as it came, in which the readers drew
            assert (np.abs(found - ball.center_lps_mm[:2]) <= np.array([0.35, 0.4]) + 1e-6).all()
            assert abs(image.lungct["z_mm"] - ball.center_lps_mm[2]) <= ball.radius_mm + SPACING_ZYX[0] / 2
            boxes += 1
    assert boxes >= 7


@pytest.mark.real
def test_real_readings_give_the_nodules_of_luna16(real_data: Path) -> None:
    """LUNA16 was made of these files: its nodules by number, size, votes and place relative to each other."""
    listed = set((real_data / "luna16_csv" / "seriesuids.csv").read_text().split())
    luna = rows_of(real_data / "luna16_csv" / "annotations.csv")
    crops = rows_of(real_data / "lidc_crops" / "lidc_nodules.csv")
    spacing = {row["SeriesInstanceUid"]: float(row["PixelSpacing"]) for row in crops}
    compared = same_votes = 0
    for path in sorted((real_data / "lidc_xml").glob("*.xml")):
        if root_of(path) != CT_READING:
            continue
        reading = read_reading(path)
        mine = [row for row in luna if row["seriesuid"] == reading.series_uid]
        heights = sorted({one.z_mm for mark in reading.marks for one in mark.contours})
        if reading.series_uid not in listed or not mine or reading.series_uid not in spacing:
            continue
        step, px = float(np.diff(heights).min()), spacing[reading.series_uid]
        above = np.arange(heights[0] - 20 * step, heights[-1] + 20 * step, step)
        headers = [
            header(z, sop_uid="", series_uid=reading.series_uid, position_lps_mm=(0.0, 0.0, float(height)))
            for z, height in enumerate(above)
        ]
        headers = [replace(one, size_xy=(512, 512), spacing_mm_xy=(px, px)) for one in headers]
        nodules = _scan_of(headers, reading, SourceOptions()).nodules
        assert len(nodules) == len(mine)
        votes = {
            tuple(row[f"Malignancy_{n}"] for n in range(1, 5))
            for row in crops
            if row["SeriesInstanceUid"] == reading.series_uid
        }
        theirs = sorted(mine, key=lambda row: float(row["coordZ"]))
        ours = sorted(nodules, key=lambda one: one.center_lps_mm[2])
        places = np.array([one.center_lps_mm for one in ours])
        published = np.array([[float(row[f"coord{axis}"]) for axis in "XYZ"] for row in theirs])
        assert np.abs(places[:, 2] - published[:, 2]).max() < 1.1
        assert (np.abs(np.ptp(places, axis=0) - np.ptp(published, axis=0)) < [0.8, 0.8, 2.0]).all()
        for nodule, row in zip(ours, theirs, strict=True):
            same_votes += tuple(str(nodule.attributes["malignancy_votes"]).split()) in votes
            assert float(row["diameter_mm"]) == pytest.approx(np.cbrt(np.prod(nodule.size_mm)), rel=0.3)
        compared += len(mine)
    # The program that made the crops parts one nodule that LUNA16 counts once, as we do; its votes are two of the four.
    assert (compared, same_votes) == (10, 9)


def rows_of(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as stream:
        return list(csv.DictReader(stream))


def scan_of(
    folder: Path, headers: list[SliceHeader], balls: list[Ball], extra: str = "", readers: int = 3, text: str = ""
) -> Scan:
    """The truth of a series; it needs no pixels."""
    uids = [one.sop_uid for one in headers] + ["1.99"] * SHAPE[0]
    (folder / "reading.xml").write_text(text or reading_xml(balls, uids, SERIES, extra))
    return _scan_of(headers, read_reading(folder / "reading.xml"), SourceOptions(lidc_readers=readers))


def header(z: int, **changes: Any) -> SliceHeader:
    x0, y0, z0 = ORIGIN_XYZ
    plain = SliceHeader(
        path=Path(str(z)),
        series_uid=SERIES,
        sop_uid=f"1.{z}",
        patient_id="LIDC-IDRI-0001",
        instance_number=z,
        position_lps_mm=(x0, y0, z0 + z * SPACING_ZYX[0]),
        orientation=(1.0, 0, 0, 0, 1.0, 0),
        size_xy=(SHAPE[2], SHAPE[1]),
        spacing_mm_xy=(SPACING_ZYX[2], SPACING_ZYX[1]),
        pixels=StoredPixels(0, "<u2", 16, 15),
    )
    return replace(plain, **changes)
