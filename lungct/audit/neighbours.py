"""Pairs of vectors of high correlation, without a loop over all pairs of images and without missing one.

Vectors are projected on the 48 directions in which a sample of them varies most. Distances in a projection never
exceed the true ones, so a pair that is too far apart there is dropped for certain, at a twentieth of the cost and in
blocks of bounded memory; what is left is held against the limit in full.

Source: the lower bound is that of Faloutsos, Ranganathan & Manolopoulos 1994.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lungct.types import FloatArray, IntArray, Progress, no_progress

DIRECTIONS = 48
SAMPLE = 1024
BLOCK = 1000
PAIRS_AT_ONCE = 20_000
SLACK = 1e-4
"""Room for rounding in float32."""


def best_pairs(
    vectors: NDArray[np.float32], group: IntArray, limit: float, progress: Progress = no_progress
) -> tuple[IntArray, FloatArray]:
    """Of each vector, and each other group, the partner of highest correlation, where that reaches ``limit``.

    Args:
        vectors: (N, D) of mean 0 and length 1; those of length 0 have no partner.
        group: (N,) no pair is made within one.
        limit: least correlation.

    Returns:
        (P, 2) indices, the lower first, sorted; (P,) correlations.
    """
    place = np.flatnonzero(np.abs(vectors).max(axis=1) > 0) if len(vectors) else np.empty(0, np.intp)
    short = _projected(vectors[place])
    squares = (short**2).sum(axis=1)
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(place), BLOCK):
        rows = slice(start, start + BLOCK)
        gap = squares[rows, None] + squares - 2 * (short[rows] @ short.T)
        near = (gap <= 2 - 2 * limit + SLACK) & (group[place[rows], None] != group[place])
        one, other = np.nonzero(near)
        pairs, values = _reaching(vectors, np.stack([place[one + start], place[other]], axis=1), limit)
        for (a, b), value in zip(*_best_of_each(pairs, values, group), strict=True):
            best[min(a, b), max(a, b)] = value
        progress("comparing", min(start + BLOCK, len(place)), len(place))
    order = sorted(best)
    return np.array(order, dtype=np.intp).reshape(-1, 2), np.array([best[pair] for pair in order])


def _reaching(vectors: NDArray[np.float32], pairs: IntArray, limit: float) -> tuple[IntArray, FloatArray]:
    """Those of the pairs whose correlation reaches the limit, and it."""
    parts = np.array_split(pairs, len(pairs) // PAIRS_AT_ONCE + 1)
    values = np.concatenate([np.einsum("ij,ij->i", vectors[part[:, 0]], vectors[part[:, 1]]) for part in parts])
    kept = values >= limit
    return pairs[kept], values[kept]


def _best_of_each(pairs: IntArray, values: FloatArray, group: IntArray) -> tuple[list[tuple[int, int]], list[float]]:
    """Of the pairs of one vector with one group the one of highest correlation, the first among equals."""
    groups = group[pairs[:, 1]]
    order = np.lexsort((pairs[:, 1], -values, groups, pairs[:, 0]))
    keys = np.stack([pairs[order, 0], groups[order]], axis=1)
    first = np.ones(len(order), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    kept = order[first]
    return [(int(a), int(b)) for a, b in pairs[kept]], values[kept].tolist()


def _projected(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, <= 48): the leading principal components of a sample's spread."""
    if not len(vectors):
        return np.zeros((0, 1), np.float32)
    sample = vectors[np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(np.intp)]
    centre = sample.mean(axis=0)
    spread = (sample - centre).astype(np.float64)
    values, mixing = np.linalg.eigh(spread @ spread.T)
    kept = np.flatnonzero(values > 1e-9 * max(values[-1], 1e-30))[-DIRECTIONS:]
    directions = (spread.T @ mixing[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    short: NDArray[np.float32] = (vectors - centre) @ directions
    return short
