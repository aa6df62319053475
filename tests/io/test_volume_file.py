"""MHA, MHD and NRRD arrive with the place that SimpleITK gives them; what is no volume is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from lungct.errors import InputError
from lungct.io.volume_file import read_volume, volume_stem, volume_suffix


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nii.gz", ".nii"])
def test_every_format_gives_the_same_place(tmp_path: Path, suffix: str) -> None:
    image = SimpleITK.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    for x, y, z in ((0, 0, 0), (3, 2, 1)):
        world = image.TransformIndexToPhysicalPoint((x, y, z))
        index = np.rint(volume.grid.to_index(world)).astype(int)
        assert volume.hu[tuple(index[::-1])] == image[x, y, z]
        np.testing.assert_allclose(volume.grid.to_world(index.astype(float)), world, atol=1e-5)


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
