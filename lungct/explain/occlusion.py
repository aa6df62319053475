"""Occlusion: how far the target falls where a patch hides the image.

    map(p) = mean over the patches that cover p of f(X) - f(X under the patch)

The patch is a square in mm, as nodules are, and becomes the baseline. It moves by half its side unless told otherwise,
the last one of a row ends at the border, and the passes are shared by all detections.

Source: Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2, where the patch is grey; the mean over patches is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lungct.errors import InputError, UsageError
from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.baselines import baseline_of
from lungct.explain.batches import in_batches, paying_batch
from lungct.explain.scorers import Scores
from lungct.types import IntArray


@torch.inference_mode()
def occlusion(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection on the slice's grid, signed.

    Raises:
        InputError: the slice says no spacing of its pixels.
        UsageError: a patch larger than the image.
    """
    if not len(subject.detections):
        return Explanation([], [], on_slice=True)
    base = baseline_of(subject, options.baseline)
    patch, corners = patches(subject, options)
    whole = subject.scorer(subject.image[None]).score[0].double().cpu().numpy()
    total = np.zeros((len(subject.detections), *subject.image.shape[1:]))
    covered, lost = np.zeros(total.shape[1:]), np.zeros(len(total))

    def score(part: range) -> Scores:
        changed = subject.image.repeat(len(part), 1, 1, 1)
        for place, (top, left) in enumerate(corners[part.start : part.stop].tolist()):
            window = (slice(None), slice(top, top + patch[0]), slice(left, left + patch[1]))
            changed[place][window] = base[window]
        return subject.scorer(changed)

    for part, scores in in_batches(len(corners), options.batch or paying_batch(subject.image), score):
        drop = whole - scores.score.double().cpu().numpy()
        lost += scores.lost.double().sum(dim=0).cpu().numpy()
        for (top, left), one in zip(corners[part.start : part.stop].tolist(), drop, strict=True):
            total[:, top : top + patch[0], left : left + patch[1]] += one[:, None, None]
            covered[top : top + patch[0], left : left + patch[1]] += 1
    mean = torch.from_numpy((total / covered).astype(np.float32))
    raw = list(subject.geometry.pixels_to_slice(mean).numpy())
    facts = {
        "patch_mm": options.patch_mm,
        "patch_input_px": list(patch),
        "baseline": options.baseline,
        "passes": 1 + len(corners),
        "score_unmasked": np.round(whole, 6).tolist(),
        "lost_fraction": np.round(lost / len(corners), 6).tolist(),
    }
    return Explanation(raw, ["image"] * len(raw), on_slice=True, rectify=True, record=facts)


def patches(subject: Subject, options: MethodOptions) -> tuple[tuple[int, int], IntArray]:
    """(rows, columns) of a patch, and (P, 2) upper left corners, pixels of the network's input.

    Raises:
        InputError, UsageError: see :func:`occlusion`.
    """
    if subject.spacing_mm_yx is None:
        raise InputError(
            "the slice says no spacing of its pixels, and occlusion's patch is in mm", "choose another --method"
        )
    sides, starts = [], []
    for axis in (0, 1):
        size = subject.geometry.input_yx[axis]
        px_per_mm = size / subject.geometry.slice_yx[axis] / subject.spacing_mm_yx[axis]
        side = max(1, round(options.patch_mm * px_per_mm))
        if side > size:
            raise UsageError(f"--patch-mm {options.patch_mm:g} is larger than the image of {size / px_per_mm:g} mm")
        step = max(1, round((options.stride_mm or options.patch_mm / 2) * px_per_mm))
        sides.append(side)
        starts.append(np.unique([*range(0, size - side, min(step, side)), size - side]))
    rows, columns = np.meshgrid(*starts, indexing="ij")
    return (sides[0], sides[1]), np.stack((rows.ravel(), columns.ravel()), axis=1)


def _cost(subject: Subject, options: MethodOptions) -> Cost:
    return Cost(images=1 + len(patches(subject, options)[1]))


METHODS: Mapping[str, Method] = {"occlusion": occlusion}
COSTS: Mapping[str, Costing] = {"occlusion": _cost}
