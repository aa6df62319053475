"""Splits are by patient, stable, complete, and never guessed where the source contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.preprocessing.split import assign_splits, refuse_duplicates

HERE = Path("here")


@settings(max_examples=25, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=4), min_size=3, max_size=60), st.integers(0, 9))
def test_every_split_gets_a_patient_and_order_is_of_no_account(patients: set[str], seed: int) -> None:
    found = assign_splits({one: [""] for one in sorted(patients)}, seed, HERE)
    assert set(found) == patients
    assert set(found.values()) == {"train", "val", "test"}
    assert found == assign_splits({one: [""] for one in sorted(patients, reverse=True)}, seed, HERE)


def test_fractions_of_a_hundred() -> None:
    found = list(assign_splits({f"p{i}": [] for i in range(100)}, 0, HERE).values())
    assert [found.count(name) for name in ("train", "val", "test")] == [70, 18, 12]


@pytest.mark.parametrize(("count", "expected"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (5, [3, 1, 1])])
def test_few_patients(count: int, expected: list[int]) -> None:
    found = list(assign_splits({f"p{i}": [] for i in range(count)}, 0, HERE).values())
    assert [found.count(name) for name in ("train", "val", "test")] == expected


def test_seed_matters() -> None:
    patients: dict[str, list[str]] = {f"p{i}": [] for i in range(40)}
    assert assign_splits(patients, 0, HERE) != assign_splits(patients, 1, HERE)


def test_stated_splits_stay_and_the_rest_is_shared_out() -> None:
    stated = {"a": ["train"], "b": ["validation", ""], "c": ["Test"], **{f"p{i}": [""] for i in range(10)}}
    found = assign_splits(stated, 0, HERE)
    assert (found["a"], found["b"], found["c"]) == ("train", "val", "test")
    free = [found[f"p{i}"] for i in range(10)]
    assert [free.count(name) for name in ("train", "val", "test")] == [7, 2, 1]


def test_contradictions_are_refused() -> None:
    with pytest.raises(InputError, match="patient a is in two splits: test, train"):
        assign_splits({"a": ["train", "test"]}, 0, HERE)
    with pytest.raises(InputError, match="benchmark_split is 'fold3'"):
        assign_splits({"a": ["fold3"]}, 0, HERE)
    refuse_duplicates([("a", "x", "train"), ("b", "x", "train"), ("c", "y", "test")], HERE)
    with pytest.raises(InputError, match=r"a \(train\) and c \(test\) have the same voxels"):
        refuse_duplicates([("a", "x", "train"), ("c", "x", "test")], HERE)
