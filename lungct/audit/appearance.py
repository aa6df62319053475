"""What a scan or image looks like, in few numbers that shift, scale, noise and re-encoding change little.

An image is cut to its body, found by the moments of the pixels above -500 HU, so that place and size on the matrix do
not count, and averaged to 96 x 96 pixels; a scan is eight such planes, the means of its eighths from bottom to top.
The *coarse* view, 32 x 32 a plane with mean 0 and length 1, finds candidates: the product of two is their normalised
correlation. The *fine* view confirms them: one image is laid on the other by an affine map and a gain, found by
Gauss-Newton steps, and what is finer than 1.5 pixels is correlated inside the lungs of both, where vessels lie; skin
and ribs are much alike in everybody. Where little lung is to be seen all but the margin counts, each edge for little.

Source: moment normalisation is of Hu 1962; the alignment is of Lucas & Kanade 1981 with gain and offset.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lungct.ct.hu import clip_hu
from lungct.types import BoolArray, FloatArray

Planes: TypeAlias = NDArray[np.float16]
"""(K, 96, 96) HU: 1 plane of an image, 8 of a scan."""

SIDE = 96
COARSE = 32
SLABS = 8
SEEN_HU = (-1000, 400)
"""HU below and above count as these: beyond them windows and clipping differ between files of one scan."""
BODY_HU = -500
REACH_SD = 1.7
"""Half sides of the cut, in standard deviations of the body's pixels along x and y; an ellipse reaches to 2."""
LEAST_BODY_PX = 100
SMOOTH_PX = 2.0
DETAIL_PX = 1.5
DETAIL_HU, DETAIL_OUTSIDE_HU = 100.0, 25.0
"""Detail counts for at most so much: in the lungs, and where all but the margin counts."""
MARGIN_PX = 6
LEAST_LUNG = 0.08
"""Share of the pixels from which the lungs alone count."""
STEPS = 8
STILL_PX = 0.02


def planes_of(hu: NDArray[Any]) -> Planes:
    """(Z, Y, X) HU in LPS-canonical order to planes; an image is a volume of one slice."""
    edges = np.linspace(0, len(hu), (SLABS if len(hu) > 1 else 1) + 1).round().astype(int)
    starts = np.minimum(edges[:-1], len(hu) - 1)
    slabs = [_mean(hu[low : max(high, low + 1)]) for low, high in zip(starts, edges[1:], strict=True)]
    box = _body_box(np.mean(slabs, axis=0))
    return np.stack([_cut(slab, box) for slab in slabs]).astype(np.float16)


def _mean(slab: NDArray[Any]) -> NDArray[np.float32]:
    total = np.zeros(slab.shape[1:], dtype=np.float32)
    for plane in slab:
        total += clip_hu(plane, SEEN_HU)
    return total / np.float32(len(slab))


def _body_box(mean: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """The cut in pixel edges (x1, y1, x2, y2); the whole image where there is hardly a body."""
    body = mean > BODY_HU
    height, width = body.shape
    if body.sum() < LEAST_BODY_PX:
        return 0.0, 0.0, float(width), float(height)
    (x1, x2), (y1, y2) = _extent(body.sum(axis=0)), _extent(body.sum(axis=1))
    return x1, y1, x2, y2


def _extent(counts: NDArray[Any]) -> tuple[float, float]:
    place = np.arange(len(counts)) + 0.5
    middle = float(np.average(place, weights=counts))
    spread = float(np.sqrt(np.average((place - middle) ** 2, weights=counts)))
    reach = max(REACH_SD * spread, 1.0)
    return middle - reach, middle + reach


def _cut(plane: NDArray[np.float32], box_xyxy_px: tuple[float, float, float, float]) -> NDArray[np.float32]:
    x1, y1, x2, y2 = box_xyxy_px
    pad = int(np.ceil(max(0.0, -x1, -y1, x2 - plane.shape[1], y2 - plane.shape[0]))) + 1
    padded = Image.fromarray(np.pad(plane, pad, constant_values=SEEN_HU[0]))
    box = (x1 + pad, y1 + pad, x2 + pad, y2 + pad)
    return np.asarray(padded.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))


def coarse_of(planes: Planes) -> NDArray[np.float32]:
    """(K * 1024,) float32 of mean 0 and length 1; zeros where nothing is to be seen."""
    step = SIDE // COARSE
    small = planes.astype(np.float32).reshape(-1, COARSE, step, COARSE, step).mean(axis=(2, 4)).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return np.asarray(small / length if length > 1.0 else np.zeros_like(small), dtype=np.float32)


def fine_likeness(one: Planes, other: Planes) -> float:
    """Correlation of two images' detail after alignment, -1..1; of scans its mean over the planes."""
    target, moving = one.astype(np.float32), other.astype(np.float32)
    matrix, offset = _align(_smooth(target), _smooth(moving))
    scores = []
    for plane, loose in zip(target, moving, strict=True):
        laid = ndimage.affine_transform(loose, matrix, offset=offset, order=1, mode="nearest")
        seen, most_hu = _inside_lungs(plane) & _inside_lungs(laid), DETAIL_HU
        if seen.mean() < LEAST_LUNG:
            seen, most_hu = _FRAME, DETAIL_OUTSIDE_HU
        scores.append(_correlation(_detail(plane, most_hu)[seen], _detail(laid, most_hu)[seen]))
    return float(np.mean(scores))


def _inside_lungs(plane: NDArray[np.float32]) -> BoolArray:
    """(96, 96) the air that does not reach the border, vessels closed, less two pixels."""
    labels, _ = ndimage.label(ndimage.gaussian_filter(plane, 1.0) < BODY_HU)
    outside = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    lungs = ndimage.binary_closing(~np.isin(labels, [0, *outside]), iterations=3)
    core: BoolArray = ndimage.binary_erosion(lungs, iterations=2)
    return core


def _smooth(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(planes, (0, SMOOTH_PX, SMOOTH_PX))
    return smooth


def _align(target: NDArray[np.float32], moving: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Matrix and offset (y, x) that take a pixel of ``target`` to where ``moving`` shows the same.

    Each step solves for six affine numbers, gain and offset at once, over all planes.
    """
    y, x = ((np.mgrid[:SIDE, :SIDE][axis] / SIDE - 0.5).astype(np.float32) for axis in (0, 1))
    matrix, offset, middle = np.eye(2), np.zeros(2), np.full(2, SIDE / 2)
    for _ in range(STEPS):
        normal, right = np.zeros((8, 8)), np.zeros(8)
        for plane, loose in zip(target, moving, strict=True):
            laid = ndimage.affine_transform(loose, matrix, offset=offset, order=1, mode="nearest")
            dy, dx = np.gradient(laid)
            slopes = np.stack([dy, dy * y, dy * x, dx, dx * y, dx * x, laid, np.ones_like(laid)])
            slopes = slopes.reshape(8, -1).astype(np.float64)
            normal += slopes @ slopes.T
            right += slopes @ (plane - laid).ravel()
        found = np.linalg.lstsq(normal, right, rcond=None)[0]
        turn = np.array([[found[1], found[2]], [found[4], found[5]]]) / SIDE
        shift = np.array([found[0], found[3]]) - turn @ middle
        offset = matrix @ shift + offset
        matrix = matrix @ (np.eye(2) + turn)
        if np.abs(found[:6]).max() < STILL_PX:
            break
    return matrix, offset


_FRAME = np.zeros((SIDE, SIDE), dtype=bool)
_FRAME[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = True


def _detail(plane: NDArray[np.float32], most_hu: float) -> NDArray[np.float32]:
    fine: NDArray[np.float32] = plane - ndimage.gaussian_filter(plane, DETAIL_PX)
    return np.clip(fine, -most_hu, most_hu)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    return float((one * other).sum()) / lengths if lengths > 1.0 else 0.0
