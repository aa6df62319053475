"""NIfTI round trips, agreement of nibabel and SimpleITK on what we write, and geometry that is refused or mended."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.geometry import to_canonical
from lungct.errors import InputError
from lungct.io.nifti import read_nifti, write_nifti
from lungct.types import Grid, Volume


def turned(degrees: float, *, flip: bool = False) -> tuple[float, ...]:
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return tuple((matrix * [1, -1 if flip else 1, 1]).ravel().tolist())


def volume(direction: tuple[float, ...], spacing: tuple[float, float, float] = (1.25, 0.7, 0.6)) -> Volume:
    hu = np.arange(-60, 60, dtype=np.int16).reshape(4, 5, 6)
    return Volume(hu, Grid((4, 5, 6), spacing, (-106.55, 63.8, -211.7), direction))


@settings(max_examples=12, deadline=None)
@given(st.floats(-40, 40), st.booleans(), st.tuples(*[st.floats(0.3, 5)] * 3))
def test_other_readers_put_every_corner_where_we_do(
    tmp_path_factory: pytest.TempPathFactory, degrees: float, flip: bool, spacing: tuple[float, float, float]
) -> None:
    path = tmp_path_factory.mktemp("nifti") / "a.nii.gz"
    ours = volume(turned(degrees, flip=flip), spacing)
    write_nifti(path, ours)
    theirs, itk = nibabel.load(path), SimpleITK.ReadImage(str(path))
    assert nibabel.aff2axcodes(theirs.affine) == ("R", "A", "S")
    assert int(theirs.header["qform_code"]) == int(theirs.header["sform_code"]) == 1
    np.testing.assert_allclose(theirs.header.get_qform(), theirs.header.get_sform(), atol=1e-4)
    canonical = to_canonical(ours)
    data = np.asanyarray(theirs.dataobj)
    for z, y, x in ((0, 0, 0), (3, 4, 5), (0, 4, 2), (3, 0, 5)):
        world = canonical.grid.to_world((x, y, z))
        ras = np.linalg.inv(theirs.affine) @ [-world[0], -world[1], world[2], 1]
        i, j, k = np.rint(ras[:3]).astype(int)
        np.testing.assert_allclose(ras[:3], [i, j, k], atol=1e-3)
        assert data[i, j, k] == canonical.hu[z, y, x]
        itk_world = itk.TransformIndexToPhysicalPoint([int(i), int(j), int(k)])
        np.testing.assert_allclose(itk_world, world, atol=1e-3)
        assert itk[int(i), int(j), int(k)] == canonical.hu[z, y, x]


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    ours = to_canonical(volume(turned(7)))
    write_nifti(tmp_path / "a.nii.gz", ours)
    write_nifti(tmp_path / "b.nii.gz", ours)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    back = to_canonical(read_nifti(tmp_path / "a.nii.gz"))
    assert back.hu.dtype == np.int16
    assert np.array_equal(back.hu, ours.hu)
    np.testing.assert_allclose(back.grid.affine_lps, ours.grid.affine_lps, atol=1e-4)


def save(path: Path, affine: np.ndarray, *, sform: int = 1, qform: np.ndarray | None = None, **header: object) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine if qform is None else qform, code=0 if qform is None else 1, strip_shears=True)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)


def test_sheared_sform_gives_way_to_a_qform_that_agrees(tmp_path: Path) -> None:
    straight = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared = straight.copy()
    sheared[1, 2] = 0.02
    save(tmp_path / "a.nii", sheared, qform=straight)
    np.testing.assert_allclose(np.abs(read_nifti(tmp_path / "a.nii").grid.direction_matrix), np.eye(3), atol=1e-6)
    sheared[1, 2] = 0.8
    save(tmp_path / "b.nii", sheared, qform=straight)
    save(tmp_path / "c.nii", sheared)
    for name in ("b.nii", "c.nii"):
        with pytest.raises(InputError, match="sheared sform"):
            read_nifti(tmp_path / name)


def test_qform_alone_places_the_scan(tmp_path: Path) -> None:
    affine = np.array([[0.0, -2, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    save(tmp_path / "a.nii", affine, sform=0, qform=affine)
    grid = read_nifti(tmp_path / "a.nii").grid
    assert grid.origin_lps_mm == pytest.approx((-5, -6, 7))
    assert grid.spacing_mm_zyx == pytest.approx((3, 2, 1))


def test_no_form_at_all_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", np.eye(4), sform=0)
    with pytest.raises(InputError, match="neither qform nor sform"):
        read_nifti(tmp_path / "a.nii")


def test_slope_and_big_endian(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(
        np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(4), nibabel.Nifti1Header(endianness=">")
    )
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    expected = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii.gz").hu.transpose(2, 1, 0), expected)


@pytest.mark.parametrize("cut", [10, 200, 352, 500])
def test_truncated_file_is_one_line(tmp_path: Path, cut: int) -> None:
    write_nifti(tmp_path / "a.nii.gz", volume(turned(0)))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.nii").write_bytes(gzip.decompress(whole)[:cut])
    for name in ("b.nii.gz", "c.nii"):
        with pytest.raises(InputError, match="not readable as NIfTI") as caught:
            read_nifti(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_four_dimensions_are_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4, 2), np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_nifti(tmp_path / "a.nii")


def test_sibling_is_not_read_in_its_place(tmp_path: Path) -> None:
    one, other = volume(turned(0)), volume(turned(0))
    write_nifti(tmp_path / "x.nii.gz", one)
    nibabel.save(nibabel.Nifti1Image(np.full((6, 5, 4), 7, np.int16), np.eye(4)), tmp_path / "x.nii")
    assert read_nifti(tmp_path / "x.nii.gz").hu.max() == other.hu.max()


def test_a_header_that_promises_the_world_costs_no_memory(tmp_path: Path) -> None:
    for name, packed in (("a.nii", False), ("b.nii.gz", True)):
        save(tmp_path / "whole.nii", np.eye(4))
        data = bytearray((tmp_path / "whole.nii").read_bytes())
        data[42:48] = np.array([32767] * 3, "<i2").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
        with pytest.raises(InputError, match="fewer voxels than its header says"):
            read_nifti(tmp_path / name)


def test_checksum_and_end_of_the_packed_stream_are_read(tmp_path: Path) -> None:
    """At 24576 bytes the last voxel ends a buffer of the decompressor, which then has not seen the stream's end."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((16, 757, 1), np.int16), np.eye(4)), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    packed = gzip.compress(whole)
    broken = [packed[:-cut] for cut in (1, 4, 8, 9, 10)] + [packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]]
    for data in broken:
        (tmp_path / "b.nii.gz").write_bytes(data)
        with pytest.raises(InputError, match="not readable as NIfTI"):
            read_nifti(tmp_path / "b.nii.gz")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(whole + bytes(3_000_000)))
    assert read_nifti(tmp_path / "c.nii.gz").hu.shape == (1, 757, 16)


def test_reading_takes_the_memory_of_the_voxels(tmp_path: Path) -> None:
    shape = (40, 256, 256)
    grid = Grid(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    write_nifti(tmp_path / "a.nii.gz", Volume(np.random.default_rng(0).integers(0, 999, shape).astype(np.int16), grid))
    tracemalloc.start()
    found = read_nifti(tmp_path / "a.nii.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.4 * found.hu.nbytes + 2**21


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_long_header_extension_is_passed_over(tmp_path: Path, kind: type) -> None:
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = kind(data, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"label " * 700))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii.gz").hu, data.transpose(2, 1, 0))
