"""The search by projections finds what a look at every pair finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.audit import neighbours
from lungct.audit.neighbours import best_pairs


def vectors_of(seed: int, count: int, width: int) -> np.ndarray:
    """Clusters of like vectors, of mean 0 and length 1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(count // 4, 1), width))
    found = centres[rng.integers(0, len(centres), count)] + rng.normal(0, 0.2, (count, width))
    found -= found.mean(axis=1, keepdims=True)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def by_every_pair(vectors: np.ndarray, group: np.ndarray, limit: float) -> set[tuple[int, int]]:
    likeness = vectors @ vectors.T
    found = set()
    for one in range(len(vectors)):
        for other_group in set(group.tolist()) - {group[one]}:
            others = np.flatnonzero(group == other_group)
            best = int(others[np.argmax(likeness[one, others])])
            if likeness[one, best] >= limit:
                found.add((min(one, best), max(one, best)))
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(0, 60), st.integers(60, 90), st.integers(1, 9), st.sampled_from([0.5, 0.9]))
def test_same_pairs_as_all_pairs(seed: int, count: int, width: int, groups: int, limit: float) -> None:
    vectors = vectors_of(seed, count, width)
    group = np.random.default_rng(seed).integers(0, groups, count)
    pairs, values = best_pairs(vectors, group, limit)
    assert {(int(a), int(b)) for a, b in pairs} == by_every_pair(vectors, group, limit)
    np.testing.assert_allclose(values, [vectors[a] @ vectors[b] for a, b in pairs], atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, group = vectors_of(1, 200, 80), np.arange(200) % 5
    whole = best_pairs(vectors, group, 0.8)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    monkeypatch.setattr(neighbours, "PAIRS_AT_ONCE", 3)
    parts = best_pairs(vectors, group, 0.8)
    assert len(whole[0]) > 10
    np.testing.assert_array_equal(whole[0], parts[0])


def test_blank_vectors_have_no_partner() -> None:
    vectors = np.zeros((3, 70), np.float32)
    pairs, values = best_pairs(vectors, np.arange(3), 0.5)
    assert len(pairs) == len(values) == 0
