"""D-RISE: random masks of the image, each counted as much as the detection is still there under it.

    map = (1 / (N p)) sum_i w_i M_i,   w_i = max_j IoU(L_t, L_ij) cos(P_t, P_ij) O_ij

It looks at the network from outside only. The masks are shared by all detections, made batch by batch, and each follows
from the seed and its number alone. Where the scorer is chosen by hand, w_i is what that scorer says.

Source: Petsiuk 2021, arXiv:2006.03204, section 3, with the masks of RISE (Petsiuk 2018, arXiv:1806.07421): a grid of 16
x 16 cells, each kept with p = .5, upsampled and shifted by up to a cell; 5,000 of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lungct import registry
from lungct.explain.base import Cost, Costing, Explanation, Method, MethodOptions, Subject
from lungct.explain.baselines import baseline_of
from lungct.explain.batches import in_batches, paying_batch
from lungct.explain.scorers import Scores


@torch.inference_mode()
def drise(subject: Subject, options: MethodOptions) -> Explanation:
    """One map per detection on the slice's grid, not negative for targets in 0..1."""
    scorer = subject.scorer if subject.similarity is None else subject.similarity
    if not len(subject.detections):
        return Explanation([], [], on_slice=True)
    count = _masks(options)
    base = baseline_of(subject, options.baseline)
    size = (subject.image.shape[1], subject.image.shape[2])
    total = torch.zeros(len(subject.detections), *size, dtype=torch.float64)
    lost = np.zeros(len(subject.detections))
    unmasked = scorer(subject.image[None]).score[0].double().cpu().numpy()

    def score(part: range) -> tuple[Tensor, Scores]:
        masks = random_masks(options.seed, part, size).to(subject.image)
        return masks, scorer(torch.lerp(base[None], subject.image[None], masks[:, None]))

    for _, (masks, scores) in in_batches(count, options.batch or paying_batch(subject.image), score):
        total += torch.tensordot(scores.score.T, masks, dims=1).double().cpu()
        lost += scores.lost.double().sum(dim=0).cpu().numpy()
    mean = (total / (count * registry.DRISE_KEPT)).float()
    raw = list(subject.geometry.pixels_to_slice(mean).numpy())
    facts = {
        "masks": count,
        "baseline": options.baseline,
        "weight": "candidate similarity" if subject.similarity is not None else "scorer",
        "passes": 1 + count,
        "score_unmasked": np.round(unmasked, 6).tolist(),
        "lost_fraction": np.round(lost / count, 6).tolist(),
    }
    return Explanation(raw, ["image"] * len(raw), on_slice=True, record=facts)


def random_masks(seed: int, numbers: range, size_yx: tuple[int, int]) -> Tensor:
    """(len(numbers), H, W) float32 masks in 0..1 of RISE; the n-th is the same in any batch."""
    grid = registry.DRISE_GRID
    cell = [math.ceil(one / grid) for one in size_yx]
    masks = []
    for number in numbers:
        random = np.random.default_rng((seed, number))
        kept = torch.from_numpy((random.random((grid + 1, grid + 1)) < registry.DRISE_KEPT).astype(np.float32))
        up = [(grid + 1) * one for one in cell]
        smooth = F.interpolate(kept[None, None], size=up, mode="bilinear", align_corners=False)[0, 0]
        top, left = (int(random.integers(one)) for one in cell)
        masks.append(smooth[top : top + size_yx[0], left : left + size_yx[1]])
    return torch.stack(masks)


def _masks(options: MethodOptions) -> int:
    return options.repeats(options.masks, registry.DRISE_MASKS, registry.LEAST_MASKS)


def _cost(_: Subject, options: MethodOptions) -> Cost:
    return Cost(images=1 + _masks(options))


METHODS: Mapping[str, Method] = {"drise": drise}
COSTS: Mapping[str, Costing] = {"drise": _cost}
