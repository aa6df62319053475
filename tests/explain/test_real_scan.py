"""On a real DICOM scan: preprocessed, sliced and explained, the heat of the mass lies on it in the scan as it was."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from lungct.io import boxes_csv
from lungct.io.checkpoint import save_tensors
from lungct.io.manifest import grid_of, read_manifest
from lungct.types import Nodule

from .conftest import untrained
from .test_scan_maps import lungct

pytestmark = [pytest.mark.real, pytest.mark.slow]
MASS_XYZ = (108.8, 169.8, 32.1)
"""Published index of its centre among the slices from the feet up."""


def test_the_heat_of_the_cptac_mass(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "cptac_C3N-00247_dicom"
    out, slices, maps = (tmp_path / name for name in ("out", "slices", "maps"))
    lungct("preprocess", folder, out, "--keep-ids", "--spacing", "1,1,3", "--workers", "1")
    record = read_manifest(out)[1]
    source = grid_of(record["source_grid"])
    place = tuple(float(one) for one in source.to_world(MASS_XYZ))
    mass = Nodule("mass", record["patient_id"], record["case_id"], place, (20.0, 20.0, 12.0), split="test")
    boxes_csv.write_nodules(out / "nodules.csv", [mass])
    lungct("select-slices", out, slices, "--method", "all", "--negatives", "0")
    truth = json.loads((slices / "test.json").read_text())
    (tmp_path / "given.json").write_text(json.dumps([{**one, "score": 0.9} for one in truth["annotations"]]))
    model = untrained("faster-rcnn")
    (tmp_path / "run").mkdir()
    save_tensors(tmp_path / "run" / "model.safetensors", model.detector.state_dict(), model.card.to_json())
    given = ("--detections", tmp_path / "given.json", "--override", "--no-pictures", "--nifti", "--threads", "1")
    lungct("explain", tmp_path / "run", slices / "test.json", maps, "--method", "odam", "--method", "gaussian", *given)
    for method in ("odam", "gaussian"):
        (path,) = (maps / method / "nifti").glob(f"*_{method}.nii.gz")
        heat = nibabel.load(path)
        assert heat.shape == source.shape_zyx[::-1]
        header = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
        np.testing.assert_allclose(heat.header.get_zooms()[:2], header.PixelSpacing, atol=1e-5)
        to_ras = heat.affine @ [*MASS_XYZ[:2], MASS_XYZ[2], 1.0]
        np.testing.assert_allclose(to_ras[:3] * (-1, -1, 1), place, atol=1e-3)
        boxes = nibabel.load(str(path).replace(f"_{method}.nii", "_boxes.nii")).get_fdata()
        assert boxes[tuple(round(one) for one in MASS_XYZ)] == 1
        values = heat.get_fdata()
        assert values[boxes > 0].sum() > (0.4 if method == "gaussian" else 0.6) * values.sum()
        if method == "gaussian":
            weight = values * (values > 0.5)
            middle = [float((weight * one).sum() / weight.sum()) for one in np.indices(weight.shape)]
            np.testing.assert_allclose(middle, MASS_XYZ, atol=1)
