"""ROAD: the score left after the hottest pixels are removed and guessed from what surrounds them; less is better.

    road = mean over k in 1/4, 1/2, 1, 2, 4 of o_k / y,  o_k the score without the k a hottest pixels

a is the area of the detection's box, in place of shares of the whole image, in which a nodule is lost at the first.
Removed pixels are imputed by noisy linear imputation: each is the mean of its eight neighbours, direct ones with twice
the weight of diagonal ones, which is one sparse linear system over the removed pixels; then noise of .01 of the window
is added. So the mask's outline cannot tell the network what was there, as it can where pixels become black.

Source: Rong 2022, A consistent and efficient evaluation strategy for attribution methods, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu
from torch import Tensor

from lungct.game.faithfulness.base import Case
from lungct.types import BoolArray, FloatArray

SHARES = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISE = 0.01
_NEIGHBOURS = tuple(
    (down, across, 2.0 if 0 in (down, across) else 1.0)
    for down in (-1, 0, 1)
    for across in (-1, 0, 1)
    if (down, across) != (0, 0)
)


def road(case: Case) -> Mapping[str, float]:
    """Most relevant pixels first."""
    if case.score <= 0:
        return {"road": float("nan")}
    return {"road": float(case.scores(_imputed(case)).mean()) / case.score}


def _imputed(case: Case) -> Iterator[Tensor]:
    image = case.subject.image.cpu().numpy().astype(np.float64)
    rank = case.on_input(case.order).cpu().numpy()
    for share in SHARES:
        removed = rank < min(max(1, round(share * case.area_px)), case.heatmap.size - 1)
        filled = impute(image, removed)
        noise = np.random.default_rng((case.settings.seed, round(100 * share))).normal(0, NOISE, filled.shape)
        filled = np.where(removed, filled + noise, filled)
        yield torch.as_tensor(filled, dtype=torch.float32, device=case.subject.image.device)


def impute(image: FloatArray, removed: BoolArray) -> FloatArray:
    """(C, H, W) float64 with its (H, W) removed pixels solved from their neighbours; at least one must be left."""
    rows, columns = np.nonzero(removed)
    number = np.full(removed.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    height, width = removed.shape
    total = np.zeros(len(rows))
    known = np.zeros((len(rows), len(image)))
    here, there, weights = [], [], []
    for down, across, weight in _NEIGHBOURS:
        y, x = rows + down, columns + across
        inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        y, x = y[inside], x[inside]
        total[inside] += weight
        unknown = number[y, x] >= 0
        known[inside[~unknown]] += weight * image[:, y[~unknown], x[~unknown]].T
        here.append(inside[unknown])
        there.append(number[y[unknown], x[unknown]])
        weights.append(np.full(int(unknown.sum()), weight))
    places = (np.concatenate(here), np.concatenate(there))
    share = np.concatenate(weights) / total[places[0]]
    system = identity(len(rows)) - coo_matrix((share, places), shape=(len(rows), len(rows)))
    filled = image.copy()
    filled[:, rows, columns] = splu(system.tocsc()).solve(known / total[:, None]).T
    return filled


MEASURE = road
