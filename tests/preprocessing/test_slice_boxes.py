"""A ball stays under its box through cropping, flipping, oblique axes and resampling, on every slice that it is cut by.

The ball is drawn where its world centre falls on the scan's own grid; from the files on, everything is the real thing.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.ct.select import Rule
from lungct.data.augmentation import Augmentation
from lungct.data.view import ViewOptions, draw_view, show_boxes, show_image
from lungct.io.boxes_csv import write_nodules
from lungct.io.coco import CocoTruth, read_truth
from lungct.io.nifti import write_nifti
from lungct.io.npz import read_slice
from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import select_slices
from lungct.types import FloatArray, Grid, Nodule, Triple, Volume

LUNG_HU, BALL_HU = -850.0, 50.0
RADIUS_MM = 7.0
SHAPE = (30, 40, 44)
LEAST_RADIUS_PX = 2.0
"""The centroid of a smaller disc says little, nor does its radius."""
TOLERANCE_PX = 0.15
"""Half a pixel is what is asked for; a grid that is off by half the difference of two spacings stays below that."""
SPACING = st.floats(0.7, 1.6).map(lambda value: round(value, 4))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Any turn of up to 60 degrees about any axis, any axis flipped, axes in any order."""
    axis = np.array([draw(st.floats(-1, 1)) for _ in range(3)])
    axis = axis / np.linalg.norm(axis) if np.linalg.norm(axis) > 0.1 else np.array([0.0, 0.0, 1.0])
    angle = np.radians(draw(st.floats(-60, 60)))
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    flipped = turn @ np.eye(3)[draw(st.permutations(range(3)))] * [draw(st.sampled_from((-1, 1))) for _ in range(3)]
    origin = (draw(st.floats(-300, 300)), draw(st.floats(-300, 300)), -80.0)
    return Grid(SHAPE, (draw(SPACING), draw(SPACING), draw(SPACING)), origin, tuple(flipped.ravel().tolist()))


def ball(grid: Grid, center_lps_mm: FloatArray) -> Volume:
    """A ball in lung, its rim as sharp as voxels can show it without steps."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape_zyx), indexing="ij")
    depth_mm = RADIUS_MM - np.linalg.norm(grid.to_world(np.stack([x, y, z], -1)) - center_lps_mm, axis=-1)
    share = np.clip(depth_mm / np.mean(grid.spacing_mm_zyx) + 0.5, 0, 1)
    return Volume(np.rint(LUNG_HU + (BALL_HU - LUNG_HU) * share).astype(np.int16), grid)


def cropped(volume: Volume, first_xyz: tuple[int, int, int]) -> Volume:
    x, y, z = first_xyz
    hu = volume.hu[z:, y:, x:]
    origin: Triple = tuple(volume.grid.to_world((float(x), float(y), float(z))).tolist())
    return Volume(hu, replace(volume.grid, shape_zyx=hu.shape, origin_lps_mm=origin))


def centroid_and_radius(image: FloatArray, empty: float, full: float) -> tuple[FloatArray, float]:
    """Centre (x, y) in pixel edges of the one bright disc of an image, and its radius by area."""
    share = np.clip((image - empty) / (full - empty), 0, 1)
    share[share < 0.02] = 0
    y, x = np.mgrid[: share.shape[0], : share.shape[1]] + 0.5
    return np.array([(share * x).sum(), (share * y).sum()]) / share.sum(), float(np.sqrt(share.sum() / np.pi))


@settings(max_examples=15, deadline=None)
@given(
    grid=grids(),
    spacing=st.none() | st.tuples(SPACING, SPACING, SPACING),
    shift=st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-2, 2)),
    crop=st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_a_ball_stays_under_its_box(
    grid: Grid, spacing: Triple | None, shift: Triple, crop: tuple[int, int, int], seed: int
) -> None:
    center = grid.to_world(np.array([22.0, 20.0, 15.0]) + shift)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dlcs").mkdir()
        write_nifti(folder / "dlcs" / "case_1.nii.gz", cropped(ball(grid, center), crop), reorient=False)
        nodule = Nodule("nodule_1", "case_1", "case_1", tuple(center.tolist()), (2 * RADIUS_MM,) * 3)
        write_nodules(folder / "dlcs" / "DLCSD24_Annotations.csv", [nodule], extra=False)
        preprocess(folder / "dlcs", folder / "out", PreprocessOptions(volume=VolumeOptions(spacing)))
        select_slices(folder / "out", folder / "slices", SelectOptions(Rule("all"), negatives=0))
        check_slices(read_truth(folder / "slices" / "train.json"), seed)


def check_slices(truth: CocoTruth, seed: int) -> None:
    radii = []
    for image in truth.images:
        stored = read_slice(truth.root / image.file_name)
        (note,) = truth.annotations_of[image.id]
        x1, y1, x2, y2 = note.box_xyxy_px
        found, radius = centroid_and_radius(stored[1].astype(float), LUNG_HU, BALL_HU)
        radii.append(radius)
        if radius < LEAST_RADIUS_PX:
            continue
        assert np.abs(found - ((x1 + x2) / 2, (y1 + y2) / 2)).max() < TOLERANCE_PX
        assert radius < np.sqrt((x2 - x1) * (y2 - y1)) / 2 + TOLERANCE_PX
        check_view(stored, truth.boxes_of(image.id), seed + len(radii))
    assert max(radii) > np.sqrt((x2 - x1) * (y2 - y1)) / 2 - 2 * TOLERANCE_PX
    assert len(radii) >= 4


def check_view(stored: np.ndarray, boxes: FloatArray, seed: int) -> None:
    """What training is shown of the slice: magnified, cropped, flipped."""
    options = ViewOptions(
        (LUNG_HU, BALL_HU),
        magnify=2.0,
        crop_px=48,
        augmentation=Augmentation(flip_x_chance=0.5, affine_chance=1.0, scale=(0.8, 1.25)),
    )
    box = torch.from_numpy(boxes).float()
    view = draw_view(np.random.default_rng(seed), stored.shape[1:], box, options)
    shown = view.to_network(box)[0].numpy()
    if shown.min() < 3 or (shown[2:] > np.array(view.size_xy) - 3).any():
        return
    image = show_image(torch.from_numpy(stored), view, options.hu_window)[1].numpy()
    kept, _ = show_boxes(box, torch.ones(1, dtype=torch.int64), view)
    found, _ = centroid_and_radius(image, 0, 1)
    assert np.abs(found - (kept[0, :2].numpy() + kept[0, 2:].numpy()) / 2).max() < TOLERANCE_PX * view.factor
