"""Which patient belongs to which split: as the source says, else by stable hash."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from lungct.errors import InputError
from lungct.registry import SPLIT_FRACTIONS, SPLITS


def splits_of(
    kept: Iterable[tuple[str, str]], left_out: Iterable[tuple[str, str]], seed: int, where: Path
) -> dict[str, str]:
    """Patient -> split, from (patient, stated split) of every case.

    Patients of whom every case is left out take part as well: leaving out a case moves no other patient. What is
    stated of a case left out counts only there.

    Raises:
        InputError: see :func:`assign_splits`.
    """
    stated: dict[str, set[str]] = defaultdict(set)
    for patient, split in kept:
        stated[patient].add(split)
    known = set(stated)
    for patient, split in left_out:
        if patient not in known:
            stated[patient].add(split)
    return assign_splits(stated, seed, where)


def assign_splits(stated: Mapping[str, Iterable[str]], seed: int, where: Path) -> dict[str, str]:
    """Patient -> ``train``, ``val`` or ``test``.

    A patient whose scans state a split (``benchmark_split``) keeps it. The others are ordered by a hash of seed and
    patient and cut 70/18/12 by largest remainder; where no patient states a split, each gets at least one patient as
    far as they reach. The order of the input has no influence.

    Raises:
        InputError: a patient in two splits, or a split of another name.
    """
    given = {patient: _stated(patient, names, where) for patient, names in stated.items()}
    free = sorted((patient for patient, name in given.items() if not name), key=lambda one: _rank(one, seed))
    counts = _counts(len(free), at_least=0 if any(given.values()) else 1)
    names = [name for name, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    given.update(zip(free, names, strict=True))
    return given


def _stated(patient: str, names: Iterable[str], where: Path) -> str:
    found = {_canonical(name, where) for name in names if name}
    if len(found) > 1:
        raise InputError.of(where, f"patient {patient} is in two splits: {', '.join(sorted(found))}")
    return found.pop() if found else ""


def _canonical(name: str, where: Path) -> str:
    lowered = name.strip().lower()
    for split in SPLITS:
        if lowered.startswith(split):
            return split
    raise InputError.of(where, f"benchmark_split is {name!r}", f"expected one of {', '.join(SPLITS)}, or empty")


def _rank(patient: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{patient}".encode(), digest_size=8).digest()


def _counts(total: int, at_least: int) -> list[int]:
    quotas = [total * fraction for fraction in SPLIT_FRACTIONS]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda one: counts[one] - quotas[one])
    for one in by_remainder[: total - sum(counts)]:
        counts[one] += 1
    for one, count in enumerate(counts):
        largest = counts.index(max(counts))
        if count < at_least and counts[largest] > at_least:
            counts[largest] -= 1
            counts[one] += 1
    return counts


def refuse_duplicates(digests: Iterable[tuple[str, str, str]], where: Path) -> None:
    """Hold (name, digest of its voxels, split) of every scan or image against each other.

    Raises:
        InputError: the same voxels under two names in two splits.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, digest, split in digests:
        other, other_split = first.setdefault(digest, (name, split))
        if other_split != split:
            hint = "remove one of them, or give both the same patient-id"
            raise InputError.of(where, f"{other} ({other_split}) and {name} ({split}) have the same voxels", hint)
