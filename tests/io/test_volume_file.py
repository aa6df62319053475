"""MHA, MHD and NRRD arrive with the place that SimpleITK gives them; what is no volume is refused in one line."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from lungct.errors import InputError
from lungct.io.volume_file import read_grid, read_plane, read_volume, volume_planes, volume_stem, volume_suffix


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nii.gz", ".nii"])
def test_every_format_gives_the_same_place(tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert read_grid(tmp_path / f"a{suffix}") == volume.grid
    for x, y, z in ((0, 0, 0), (3, 2, 1)):
        world = image.TransformIndexToPhysicalPoint((x, y, z))
        index = np.rint(volume.grid.to_index(world)).astype(int)
        assert volume.hu[tuple(index[::-1])] == image[x, y, z]
        np.testing.assert_allclose(volume.grid.to_world(index.astype(float)), world, atol=1e-5)


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "packed.mha", "a.nrrd", "a.nii.gz", "a.nii", "scaled.nii.gz"])
def test_planes_are_those_of_the_volume(tmp_path: Path, name: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(5, 3, 4))
    image.SetOrigin((-10.0, 20.0, 30.0))
    SimpleITK.WriteImage(image, str(tmp_path / name), useCompression=name.startswith("packed"))
    if name.startswith("scaled"):
        nibabel.save(nibabel.Nifti1Image(np.arange(60.0).reshape(4, 3, 5) / 7, np.eye(4)), tmp_path / name)
    volume = read_volume(tmp_path / name)
    with volume_planes(tmp_path / name) as planes:
        assert planes.grid == volume.grid
        for z in (0, 1, 3, 4):  # one is passed over
            assert (planes.read(z) == volume.hu[z]).all()
            assert planes.read(z).dtype == volume.hu.dtype if name.endswith((".mha", ".mhd")) else True


def test_a_file_cut_short_is_found_out_at_the_plane_that_is_lost(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 500, (40, 64, 64)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(tmp_path / "a.nii.gz"))
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    with volume_planes(tmp_path / "a.nii.gz") as planes:
        assert (planes.read(0) == hu[0]).all()
        with pytest.raises(InputError, match=r"a\.nii\.gz: not readable as NIfTI"):
            planes.read(39)
    (tmp_path / "a.nii.gz").write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])  # in the checksum
    with volume_planes(tmp_path / "a.nii.gz") as planes, pytest.raises(InputError, match="not readable as NIfTI"):
        planes.read(39)


def test_names() -> None:
    assert volume_suffix("A.NII.GZ") == ".nii.gz"
    assert volume_stem(Path("d/1.2.840.1.mhd")) == "1.2.840.1"
    assert volume_suffix("a.dcm") == ""


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(b"nothing of the kind")
    SimpleITK.WriteImage(SimpleITK.Image(4, 4, SimpleITK.sitkInt16), str(tmp_path / "flat.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([2, 2, 2], SimpleITK.sitkVectorUInt8, 3), str(tmp_path / "rgb.mha"))
    for name, words in (
        ("a.mha", "not readable"),
        ("flat.mha", "2D"),
        ("rgb.mha", "colour"),
        ("absent.mhd", "no such file"),
        ("a.txt", "not a volume"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            read_volume(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert "itk::" not in str(caught.value)


def test_headers_of_broken_files_are_refused_like_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(b"nothing of the kind")
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8bnothing")
    (tmp_path / "a.nii").write_bytes(b"short")
    SimpleITK.WriteImage(SimpleITK.Image(4, 4, SimpleITK.sitkInt16), str(tmp_path / "flat.mha"))
    SimpleITK.WriteImage(SimpleITK.Image([4, 4, 3, 1], SimpleITK.sitkInt16), str(tmp_path / "one.mha"))
    for name in ("a.mha", "a.nii.gz", "a.nii", "flat.mha", "absent.nrrd", "absent.nii", "a.txt"):
        with pytest.raises(InputError, match=name):
            read_grid(tmp_path / name)
    assert read_grid(tmp_path / "one.mha").shape_zyx == (3, 4, 4)


def test_voxels_among_the_lines_of_an_nrrd_header_are_refused(tmp_path: Path) -> None:
    """ITK would end the process."""
    path = tmp_path / "a.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((4, 5, 6), -850, np.int16)), str(path))
    whole = path.read_bytes()
    for text in (b"content: \xc3\x96dem\n", b"# \xd6dem\n", b"key:=value\n"):
        path.write_bytes(whole.replace(b"type: short\n", b"type: short\n" + text))
        assert read_volume(path).hu.shape == (4, 5, 6)
    path.write_bytes(whole.replace(b"\n\n", b"\n", 1))
    for read in (read_volume, read_grid, read_plane):
        with pytest.raises(InputError, match="broken NRRD header"):
            read(path)


@pytest.mark.parametrize("size", [(5, 4), (5, 4, 1)])
def test_one_slice_in_two_or_three_dimensions(tmp_path: Path, size: tuple[int, ...]) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(size[::-1]))
    image.SetSpacing((0.5, 0.75, 2.0)[: len(size)])
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    plane, spacing = read_plane(tmp_path / "a.nrrd")
    assert (plane.tolist(), spacing) == (np.arange(20).reshape(4, 5).tolist(), (0.5, 0.75))
