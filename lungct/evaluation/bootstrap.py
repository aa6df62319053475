"""Confidence intervals by drawing patients with replacement: a patient's slices stand and fall together.

Each draw gives patient p the weight w_p, how often it was drawn (P patients, P draws). Nothing is matched again: a
detection or true box simply counts w_p times, so that after the k-th true positive

    TP_k = sum of w over the true positives so far,   FP_k = sum of w over the false ones so far,
    n = sum of w over the true boxes,

which is what evaluating the drawn patients, repeats included, would give (up to the order of equal scores). The
interval is from the 2.5th to the 97.5th percentile of the measure over the draws.

Source: Efron & Tibshirani 1993, chapter 13; Field & Welsh 2007 for clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lungct.evaluation.coco_ap import RECALLS, by_score
from lungct.evaluation.froc import RATES, Tally
from lungct.evaluation.match import Matches
from lungct.evaluation.pairs import Pairs
from lungct.types import BoolArray, FloatArray, IntArray

PERCENTILES = (2.5, 97.5)
BLOCK_CELLS = 2_000_000
BAND_RATES = np.unique(np.r_[np.geomspace(1 / 16, 8, 71), RATES])


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each of P patients is drawn in each of B draws, and whose each image is, (I,)."""

    weight: IntArray
    patient_of_image: IntArray

    def blocks(self, width: int) -> Iterator[FloatArray]:
        """(b, P) float weights, b such that b x ``width`` numbers are held at once."""
        step = max(1, BLOCK_CELLS // max(width, 1))
        for start in range(0, len(self.weight), step):
            yield self.weight[start : start + step].astype(np.float64)


def draw_patients(patients: Sequence[str], draws: int, seed: int) -> Draws:
    """Draw the P different ``patients`` (one name per image, (I,)) P times with replacement, ``draws`` times over."""
    names, patient_of_image = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    weight = np.empty((draws, len(names)), dtype=np.uint16)
    for row in weight:
        row[:] = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
    return Draws(weight, patient_of_image)


def ap_draws(pairs: Pairs, matches: Matches, draws: Draws) -> tuple[FloatArray, FloatArray]:
    """(B, T) AP and (B, T) AR of each draw at each of the T thresholds matched; NaN where a draw holds no true box."""
    ap, ar = np.zeros((2, len(draws.weight), matches.hit.shape[1]))
    categories = np.zeros((len(draws.weight), 1))
    patient = draws.patient_of_image[pairs.detections.image]
    for place in range(len(pairs.category_ids)):
        counted = matches.counted & (pairs.truth.category == place)
        if not counted.any():
            continue
        truths = weighted_count(draws, pairs.truth.image[counted])
        order = by_score(pairs, place)
        for column in range(matches.hit.shape[1]):
            hit, false = matches.hit[order, column], matches.false[order, column]
            ap[:, column] += _weighted_ap(draws, patient[order], hit, false, truths)
            found = weighted_count(draws, pairs.detections.image[order[hit]])
            ar[:, column] += np.divide(found, truths, out=np.zeros_like(found), where=truths > 0)
        categories[:, 0] += truths > 0
    empty = np.full_like(ap, np.nan)
    mean_ap, mean_ar = (np.divide(total, categories, out=empty.copy(), where=categories > 0) for total in (ap, ar))
    return mean_ap, mean_ar


def weighted_count(draws: Draws, image: IntArray) -> FloatArray:
    """(B,) how many boxes each draw holds of those that lie on ``image`` (G,)."""
    per_patient = np.bincount(draws.patient_of_image[image], minlength=draws.weight.shape[1])
    return draws.weight.astype(np.float64) @ per_patient.astype(np.float64)


def _weighted_ap(draws: Draws, patient: IntArray, hit: BoolArray, false: BoolArray, truths: FloatArray) -> FloatArray:
    at, blame = np.flatnonzero(hit), np.flatnonzero(false)
    before = np.searchsorted(at, blame)
    blame, before = blame[before < len(at)], before[before < len(at)]
    false_of = _per_patient(before, patient[blame], len(at), draws.weight.shape[1])
    values: list[FloatArray] = [np.zeros(0)]
    done = 0
    for weight in draws.blocks(len(at)):
        positives = np.cumsum(weight[:, patient[at]], axis=1)
        negatives = np.cumsum((false_of @ weight.T).T, axis=1)
        wanted = truths[done : done + len(weight), None]
        done += len(weight)
        exact = positives / (positives + negatives + np.spacing(1))
        envelope = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
        recall = np.divide(positives, wanted, out=np.zeros_like(positives), where=wanted > 0)
        values.append(_mean_at_recalls(recall, envelope) * (wanted[:, 0] > 0))
    return np.concatenate(values)


def _mean_at_recalls(recall: FloatArray, envelope: FloatArray) -> FloatArray:
    """(b,) mean over the 101 recalls of each row's envelope (b, H), 0 where its recall (b, H) does not come so far."""
    ended = np.pad(envelope, ((0, 0), (0, 1)))
    rows = zip(recall, ended, strict=True)
    return np.asarray([one[np.searchsorted(reached, RECALLS, side="left")].mean() for reached, one in rows])


def _per_patient(step: IntArray, patient: IntArray, steps: int, patients: int) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(step)), (step, patient)), shape=(steps, patients))


def froc_draws(tally: Tally, draws: Draws, rates: FloatArray | Sequence[float] = RATES) -> FloatArray:
    """(B, R) sensitivity of each draw at each of R rates of false positives per image; NaN without a true box."""
    scores = np.concatenate([tally.found_score, tally.false_score])
    patient = draws.patient_of_image[np.concatenate([tally.found_image, tally.false_image])]
    is_hit = np.arange(len(scores)) < len(tally.found_score)
    step = _steps(scores, is_hit)
    shape = (int(step.max(initial=-1)) + 1, draws.weight.shape[1])
    hit_of, false_of = (_per_patient(step[which], patient[which], *shape) for which in (is_hit, ~is_hit))
    truths = weighted_count(draws, tally.truth_image)
    images = weighted_count(draws, np.arange(len(draws.patient_of_image)))
    curves = np.full((len(draws.weight), len(rates)), np.nan)
    row = 0
    for weight in draws.blocks(shape[0]):
        hits, falses = ((np.cumsum(part @ weight.T, axis=0)).T for part in (hit_of, false_of))
        for hit, blame in zip(hits, falses, strict=True):
            if truths[row]:
                curves[row] = np.interp(rates, np.r_[0, blame] / images[row], np.r_[0, hit] / truths[row])
            row += 1
    return curves


def _steps(scores: FloatArray, is_hit: BoolArray) -> IntArray:
    """(N,) the curve point each score belongs to; equal scores share one, so do neighbours that are all false."""
    levels, level = np.unique(-scores, return_inverse=True)
    with_hit = np.zeros(len(levels), dtype=bool)
    with_hit[level[is_hit]] = True
    opens = with_hit.copy()
    opens[1:] |= with_hit[:-1]
    opens[:1] = True
    merged: IntArray = (np.cumsum(opens) - 1)[level]
    return merged


def interval(values: FloatArray) -> tuple[float, float]:
    """The 95 % percentile interval of (B,) values, NaN left out."""
    low, high = np.nanpercentile(values, PERCENTILES)
    return float(low), float(high)


def band(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lower and upper 95 % percentile, (R,) each, of (B, R) values."""
    low, high = np.nanpercentile(values, PERCENTILES, axis=0)
    return low, high
