"""Shards part the cases: every case in one, all of a patient's in the same, whatever the order."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from lungct.cli.options import shard_of
from lungct.preprocessing.shard import WHOLE, Shard


@dataclass(frozen=True)
class Case:
    name: str
    patient_id: str


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=2)), max_size=30, unique=True), st.integers(1, 7))
def test_shards_part_the_cases_by_patient(rows: list[tuple[str, str]], count: int) -> None:
    cases = [Case(*row) for row in rows]
    parts = [Shard(index, count).part(cases) for index in range(count)]
    assert sorted((one.name, one.patient_id) for part in parts for one in part) == sorted(rows)
    patients = [{one.patient_id for one in part} for part in parts]
    assert sum(map(len, patients)) == len(set().union(*patients))
    for part in parts:
        assert part == [case for case in cases if case in part]


def test_a_patient_stays_in_its_shard() -> None:
    """The share of a name is part of what merged folders rest on: it must not change between versions."""
    assert [next(i for i in range(3) if Shard(i, 3).holds(f"p{n}")) for n in range(8)] == [0, 2, 1, 1, 2, 0, 2, 0]
    assert all(WHOLE.holds(f"p{n}") for n in range(8))


def test_shards_are_of_like_size() -> None:
    sizes = [sum(Shard(index, 4).holds(f"patient {n}") for n in range(2000)) for index in range(4)]
    assert 440 < min(sizes) <= max(sizes) < 560


def test_facts_tell_sources_apart() -> None:
    facts = Shard(1, 2).facts(["a", "b", "c"], ["said"], ["a", "c"])
    assert facts is not None
    assert (facts["index"], facts["count"], facts["cases"], facts["places"]) == (1, 2, 3, [0, 2])
    others = [Shard(1, 2).facts(*one, ["a"]) for one in ((["a", "b", "c"], ["else"]), (["a", "c", "b"], ["said"]))]
    assert len({facts["source_blake2b"], *(one["source_blake2b"] for one in others if one)}) == 3
    assert WHOLE.facts(["a"], [], ["a"]) is None


@pytest.mark.parametrize("text", ["3/3", "1", "-1/3", "1/0", "a/b", "1/3/5", "", "1.0/3", "²/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="0 <= I < N"):
        shard_of(text)


def test_shard_as_typed() -> None:
    assert shard_of("0/1") == (0, 1)
    assert shard_of("2/12") == (2, 12)
    with pytest.raises(ValueError, match="no share"):
        Shard(2, 2)
