"""What a phantom patient is: body, scanner and nodules drawn from distributions, before a voxel is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lungct.types import Grid, Triple

KINDS = ("solid", "part-solid", "ground-glass")
PLACES = ("isolated", "juxta-pleural", "vessel-attached")
DIAMETER_RANGE_MM = (4.0, 30.0)
MEDIAN_MM = 8.0
"""Of the diameter in screening; signs of malignancy are centred on it, whatever median is asked for."""
DIAMETER_LOG_SD = 0.47
SPIKES_ADD = 0.35
"""Share of the diameter that the spikes of the most spiculated nodule add to its box."""
THICKEST_SLICE_MM = 2.5
BLOCK = 8
"""One patient in each block of this many has no nodule."""


@dataclass(frozen=True)
class NoduleDraw:
    """One nodule before it has a place.

    Attributes:
        kind: one of KINDS.
        place: one of PLACES.
        diameter_mm: nominal, of the sphere of about its volume.
        spiculation: 0 smooth .. 1 heavily spiculated.
        hu: of its body; for part-solid ones of the ground-glass part.
        core_hu: of the solid core of part-solid nodules.
        malignant: 1 or 0.
    """

    kind: str
    place: str
    diameter_mm: float
    spiculation: float
    hu: float
    core_hu: float
    malignant: int


@dataclass(frozen=True)
class Body:
    """The sizes of one patient; mm, in the patient's own frame (x left, y back, z head, origin between the hila)."""

    half_width: float
    half_depth: float
    wall: float
    fat: float
    apex_z: float
    right_dome_z: float
    left_dome_z: float
    heart: float
    rib_pitch: float
    rib_phase: float
    lung_hu: float
    emphysema: float


@dataclass(frozen=True)
class Scanner:
    """How one patient was scanned.

    Attributes:
        grid: of the volume as it is stored, flipped or oblique as drawn.
        isocenter_lps_mm: world position of the patient frame's origin.
        noise_hu: standard deviation of the noise in soft tissue.
        sharpness: 0 soft .. 1 sharp kernel: how little the noise is correlated.
        padded: whether the pixels outside the round field of view are blanked.
    """

    grid: Grid
    isocenter_lps_mm: Triple
    noise_hu: float
    sharpness: float
    padded: bool


def has_nodules(seed: int, patient_index: int) -> bool:
    """Whether a patient bears nodules: all but one of each eight, never one of the first four of them."""
    block, place = divmod(patient_index, BLOCK)
    return place != int(np.random.default_rng([seed, 90, block]).integers(BLOCK // 2, BLOCK))


def draw_nodules(
    rng: np.random.Generator, *, median_mm: float = MEDIAN_MM, smallest_mm: float = 4.0, largest_mm: float = 30.0
) -> tuple[NoduleDraw, ...]:
    """One to four nodules of one patient, the largest first."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.18, 0.34, 0.30, 0.18]))
    limits = {"smallest_mm": smallest_mm, "largest_mm": largest_mm}
    drawn = [draw_nodule(rng, median_mm=median_mm, **limits) for _ in range(count)]
    return tuple(sorted(drawn, key=lambda one: -one.diameter_mm))


def draw_nodule(
    rng: np.random.Generator, *, median_mm: float = MEDIAN_MM, smallest_mm: float = 4.0, largest_mm: float = 30.0
) -> NoduleDraw:
    """One nodule: log-normal diameter, kind, spiculation that grows with size, and malignancy.

    The log-odds of cancer rise with the log of the diameter, with spiculation and for part-solid nodules: the signs of
    the Brock model, with slopes of our own that make a learnable task of a few hundred nodules.

    Source: McWilliams et al., NEJM 2013 (which predictors, and their direction).
    """
    low, high = max(smallest_mm, DIAMETER_RANGE_MM[0]), min(largest_mm, DIAMETER_RANGE_MM[1])
    diameter = _diameter(rng, median_mm, low, max(low, high))
    kind = str(rng.choice(KINDS, p=[0.62, 0.18, 0.20] if diameter >= 6 else [0.9, 0.0, 0.1]))
    place = str(rng.choice(PLACES, p=[0.45, 0.30, 0.25]))
    lean = -0.9 + 1.1 * math.log(diameter / MEDIAN_MM) + 1.0 * rng.standard_normal()
    spiculation = 1.0 / (1.0 + math.exp(-1.6 * lean)) * (0.4 if kind == "ground-glass" else 1.0)
    diameter = max(low, min(diameter, high / (1.0 + SPIKES_ADD * spiculation)))
    odds = -2.9 + 2.2 * math.log(diameter / MEDIAN_MM) + 4.0 * spiculation + (0.8 if kind == "part-solid" else 0.0)
    malignant = int(rng.random() < 1.0 / (1.0 + math.exp(-odds)))
    solid_hu = float(rng.uniform(-10, 70))
    calcified = bool(rng.random() < 0.15)
    if kind == "solid" and not malignant and calcified:
        solid_hu, spiculation = float(rng.uniform(150, 400)), 0.2 * spiculation
    hu = solid_hu if kind == "solid" else float(rng.uniform(-700, -520))
    return NoduleDraw(kind, place, diameter, spiculation, hu, min(solid_hu, 60.0), malignant)


def _diameter(rng: np.random.Generator, median_mm: float, low: float, high: float) -> float:
    for _ in range(50):
        diameter = median_mm * math.exp(DIAMETER_LOG_SD * rng.standard_normal())
        if low <= diameter <= high:
            return diameter
    return min(max(median_mm, low), high)


def draw_body(rng: np.random.Generator) -> Body:
    """The sizes of one patient."""
    width = float(rng.uniform(160, 186))
    right = float(rng.uniform(-72, -52))
    return Body(
        half_width=width,
        half_depth=width * float(rng.uniform(0.66, 0.70)),
        wall=float(rng.uniform(29, 38)),
        fat=float(rng.uniform(8, 18)),
        apex_z=float(rng.uniform(92, 112)),
        right_dome_z=right,
        left_dome_z=right - float(rng.uniform(4, 14)),
        heart=float(rng.uniform(0.88, 1.08)),
        rib_pitch=float(rng.uniform(25, 29)),
        rib_phase=float(rng.uniform(0, 1)),
        lung_hu=float(rng.uniform(-870, -835)),
        emphysema=float(rng.choice([0.0, 1.0], p=[0.7, 0.3]) * rng.uniform(0.4, 1.0)),
    )


def draw_scanner(rng: np.random.Generator, body: Body, size: int, slices: int) -> Scanner:
    """A grid that holds the lungs, with its own spacing, origin, tilt and flips, and the noise of the scan."""
    field_of_view = float(np.clip(2 * body.half_width + rng.uniform(-6, 22), 330, 400))
    pixel = round(field_of_view / size, 6)
    thickness = round(float(np.clip(rng.uniform(222, 280) / slices, 0.5, THICKEST_SLICE_MM)), 2)
    isocenter = np.array([rng.uniform(-12, 12), rng.uniform(-220, 60), rng.uniform(-420, 120)])
    direction = _tilt(rng) if rng.random() < 0.5 else np.eye(3)
    direction = direction * np.where(rng.random(3) < [0.25, 0.25, 0.35], -1.0, 1.0)
    spacing_xyz = np.array([pixel, pixel, thickness])
    shape_xyz = np.array([size, size, slices])
    center = isocenter + np.array([rng.uniform(-3, 3), rng.uniform(8, 20), rng.uniform(-18, -6)])
    origin = center - direction @ (spacing_xyz * (shape_xyz - 1) / 2)
    grid = Grid(
        (slices, size, size),
        (thickness, pixel, pixel),
        _triple(np.round(origin, 3)),
        tuple(float(value) + 0.0 for value in direction.ravel()),
    )
    noise, sharpness, padded = float(rng.uniform(15, 25)), float(rng.uniform(0, 1)), bool(rng.random() < 0.5)
    return Scanner(grid, _triple(isocenter), noise, sharpness, padded)


def _tilt(rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rotation = np.eye(3)
    for axis, limit in enumerate((4.0, 2.5, 3.0)):
        angle = math.radians(float(rng.uniform(-limit, limit)))
        one = np.eye(3)
        first, second = [(1, 2), (0, 2), (0, 1)][axis]
        one[first, first] = one[second, second] = math.cos(angle)
        one[first, second], one[second, first] = -math.sin(angle), math.sin(angle)
        rotation = rotation @ one
    return rotation


def _triple(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
