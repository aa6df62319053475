"""NIfTI heat volumes through the real commands: the map of a nodule lies on it in the scan that it was found in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lungct.cli.app import command
from lungct.cli.contract import run_app
from lungct.errors import InputError
from lungct.explain.scan_maps import ScanMapOptions, ScanMaps
from lungct.explain.viewers import slicer_script, snap_labels
from lungct.io import boxes_csv
from lungct.io.checkpoint import save_tensors
from lungct.io.coco import CocoImage, CocoTruth
from lungct.io.json_lines import read_json_lines
from lungct.io.manifest import grid_facts, write_manifest
from lungct.io.nifti import write_nifti
from lungct.phantom.scan import render_phantom
from lungct.types import Grid, Nodule, Volume

from .conftest import untrained

LAYOUTS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], float, list[str]]] = {
    "as it is": ((0, 1, 2), (1, 1, 1), 0.0, ["--spacing", "native"]),
    "flipped": ((0, 1, 2), (-1, 1, -1), 0.0, ["--spacing", "native"]),
    "resampled": ((0, 1, 2), (1, 1, 1), 0.0, ["--spacing", "1.3,1.3,1.5"]),
    "cropped": ((0, 1, 2), (1, 1, 1), 0.0, ["--spacing", "native", "--crop-to-lungs", "8"]),
    "oblique, turned, flipped, resampled and cropped": (
        (2, 0, 1),
        (1, -1, -1),
        0.12,
        ["--spacing", "1.4,1.2,1.1", "--crop-to-lungs", "8"],
    ),
}


def lungct(*arguments: object) -> None:
    assert run_app(command(), [str(one) for one in arguments]) == 0


def scrambled(volume: Volume, order: tuple[int, int, int], signs: tuple[int, int, int], turn: np.ndarray) -> Volume:  # type: ignore[type-arg]
    """The volume turned in the world, with its x, y, z index axes in another order and direction."""
    grid = volume.grid
    shape, spacing = np.array(grid.shape_zyx[::-1]), np.array(grid.spacing_mm_zyx[::-1])
    first = np.zeros(3)
    first[[axis for axis, sign in zip(order, signs, strict=True) if sign < 0]] = [
        shape[axis] - 1 for axis, sign in zip(order, signs, strict=True) if sign < 0
    ]
    voxels = volume.hu.transpose(2, 1, 0).transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    direction = turn @ grid.direction_matrix[:, list(order)] * np.array(signs)
    size = tuple(int(one) for one in shape[list(order)][::-1])
    place = tuple(float(one) for one in spacing[list(order)][::-1])
    origin = tuple(float(one) for one in turn @ grid.to_world(first))
    return Volume(voxels.transpose(2, 1, 0), Grid(size, place, origin, tuple(direction.ravel().tolist())))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def phantom() -> tuple[Volume, list[Nodule]]:
    """A small chest with a nodule."""
    found = render_phantom(5, 0, median_mm=14.0, size=96, slices=40)
    nodules = [
        Nodule(f"P_{number}", "P", "P", one.center_lps_mm, one.size_mm, split="test")
        for number, one in enumerate(found.nodules, 1)
    ]
    return found.volume, nodules[:1]


def explained(
    folder: Path, phantom: tuple[Volume, list[Nodule]], layout: str, *more: str
) -> tuple[Path, Volume, list[Nodule]]:
    """Preprocess, select, explain the true boxes by the Gaussian; returns the map folder, the scan and its nodules."""
    order, signs, angle, options = LAYOUTS[layout]
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    scan = scrambled(phantom[0], order, signs, turn)
    nodules = [replace(one, center_lps_mm=tuple((turn @ one.center_lps_mm).tolist())) for one in phantom[1]]
    write_nifti(folder / "dlcs" / "P.nii.gz", scan, reorient=False)
    boxes_csv.write_nodules(folder / "dlcs" / "DLCSD24_Annotations.csv", nodules, extra=False)
    lungct("preprocess", folder / "dlcs", folder / "out", "--keep-ids", *options)
    lungct("select-slices", folder / "out", folder / "slices", "--method", "all", "--negatives", "0")
    truth = json.loads((folder / "slices" / "test.json").read_text())
    rows = [{**one, "score": 0.9} for one in truth["annotations"]]
    (folder / "detections.json").write_text(json.dumps(rows))
    model = untrained("faster-rcnn")
    (folder / "run").mkdir()
    save_tensors(folder / "run" / "model.safetensors", model.detector.state_dict(), model.card.to_json())
    given = ("--detections", folder / "detections.json", "--method", "gaussian", "--nifti", "--no-pictures")
    lungct("explain", folder / "run", folder / "slices" / "test.json", folder / "maps", *given, *more)
    return folder / "maps" / "gaussian", scan, nodules


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_nodules_heat_lies_on_it_in_the_scan_as_it_was(
    tmp_path: Path, phantom: tuple[Volume, list[Nodule]], layout: str
) -> None:
    maps, scan, (nodule,) = explained(tmp_path, phantom, layout)
    source, heat = (
        nibabel.load(path) for path in (tmp_path / "dlcs" / "P.nii.gz", maps / "nifti" / "P_gaussian.nii.gz")
    )
    assert heat.shape == source.shape
    np.testing.assert_allclose(heat.affine, source.affine, atol=1e-4)
    assert (int(heat.header["qform_code"]), int(heat.header["sform_code"])) == (1, 1)
    values = heat.get_fdata()
    assert 0.9 < values.max() <= 1
    center_xyz = scan.grid.to_index(nodule.center_lps_mm)
    peak = np.array(np.unravel_index(values.argmax(), values.shape))
    axes = [int(np.abs(scan.grid.direction_matrix[:, axis]).argmax()) for axis in range(3)]
    across = [axis for axis in range(3) if axes[axis] != 2]
    up = axes.index(2)
    assert np.abs(peak - center_xyz)[across].max() <= 1, "in its slice the peak is the nodule's middle"
    half = nodule.size_mm[2] / 2 / scan.grid.spacing_mm_zyx[::-1][up]
    assert abs(peak - center_xyz)[up] <= half + 1
    weight = values * (values > 0.5)
    middle = np.array([(weight * place).sum() for place in np.indices(weight.shape)])
    assert np.abs(middle / weight.sum() - center_xyz).max() <= 1
    boxes = np.argwhere(nibabel.load(maps / "nifti" / "P_boxes.nii.gz").get_fdata() == 1)
    assert np.abs((boxes.min(axis=0) + boxes.max(axis=0)) / 2 - center_xyz).max() <= 1


def test_four_dimensions_the_slices_own_grid_and_what_the_index_says(
    tmp_path: Path, phantom: tuple[Volume, list[Nodule]]
) -> None:
    more = ("--nifti-form", "per-nodule", "--nifti-space", "slices", "--explain-channels")
    maps, _, _ = explained(tmp_path, phantom, "oblique, turned, flipped, resampled and cropped", *more)
    heat = nibabel.load(maps / "nifti" / "P_gaussian.nii.gz")
    scan = nibabel.load(tmp_path / "out" / "scans" / "P.nii.gz")
    assert heat.shape[:3] == scan.shape
    np.testing.assert_allclose(heat.affine, scan.affine, atol=1e-4)
    rows = read_json_lines(maps / "index.ndjson")
    assert {row["nodule"] for row in rows} == set(range(1, heat.shape[3] + 1) if heat.ndim == 4 else [1])
    assert all((maps / row["nifti"]).is_file() and (maps / row["file"]).is_file() for row in rows)
    assert all(len(row["channel_shapley"]) == 3 and row["overlay"] is None for row in rows)


def test_unknown_grids_are_said_before_any_map_is_made(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments: list[Any] = ["explain", world / "run", world / "slices" / "test.json", world / "maps", "--nifti"]
    assert run_app(command(), [str(one) for one in arguments]) == 3
    assert "z_index" in capsys.readouterr().err
    document = json.loads((world / "slices" / "test.json").read_text())
    for image in document["images"]:
        image["lungct"]["z_index"] = 3
    (world / "slices" / "test.json").write_text(json.dumps(document))
    assert run_app(command(), [str(one) for one in arguments]) == 3
    assert "grid of its scans is not known" in capsys.readouterr().err
    assert not (world / "maps").exists()


@pytest.mark.parametrize("z", [-1, 5])
def test_a_slice_beyond_its_scan_is_refused_before_any_map_is_made(z: int, tmp_path: Path) -> None:
    facts = grid_facts(Grid((5, 16, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    record = {"schema": "lungct.slices/1", "case_id": "case_1", "grid": facts, "source_grid": facts}
    write_manifest(tmp_path, "select-slices", {}, [record])
    image = CocoImage(1, "1.npz", 16, 16, {"case_id": "case_1", "z_index": z})
    with pytest.raises(InputError, match=f"is slice {z} of case_1, which has 5"):
        ScanMaps.of(CocoTruth({1: "nodule"}, [image], [], tmp_path), ScanMapOptions())


def test_what_the_viewers_are_told() -> None:
    compile(slicer_script("eigencam"), "slicer.py", "exec")
    lines = snap_labels(["0.93, slices 3 to 5", "0.41, slices 9 to 9"]).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]
    assert len({tuple(line.split()[1:4]) for line in lines}) == 3
    assert lines[1].endswith('"nodule 1: score 0.93, slices 3 to 5"')
