"""Tables: cells by name, complaints with file, line and column; nodule attributes and LUNA16 points survive."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.csv_table import has_columns, read_table
from lungct.io.points_csv import read_points, write_points
from lungct.types import Finding, Nodule

NODULE = Nodule("n", "p", "c", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
SCALARS = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["007", "1e5", "4 2 4 2", "a,b", 'say "no"', "nan", "True", "é"]),
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_know_their_line_and_cells(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", '\ufeffa,b,c\n1, x ,"1, 2.5"\n\n"two\nlines",,\n3\n')
    first, second, third = read_table(table, ["a", "c"])
    assert (first.line, first.number("a"), first.text("b"), first.numbers("c", 2)) == (2, 1.0, "x", (1.0, 2.5))
    assert (second.line, second.text("a"), second.text("c")) == (5, "two\nlines", "")
    assert (third.line, third.text("c"), third.text("nowhere")) == (6, "", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;b\n1;2\n", "t.csv: its columns are parted by semicolons: expected commas"),
        ("a\tb\n", "parted by tabs"),
        ("a,c\n", "t.csv: no column b: expected the header a,b"),
        ("", "no column a, b"),
        ('a,b\n"' + "x" * 200_000, "not readable as CSV"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_table(write(tmp_path / "t.csv", text), ["a", "b"])


def test_unreadable_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "t.csv", ["a"])
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe")
    with pytest.raises(InputError, match="not readable as CSV"):
        read_table(tmp_path / "t.csv", ["a"])
    assert has_columns(tmp_path / "t.csv", ["a"])
    assert not has_columns(tmp_path / "nowhere.csv", ["a"])
    assert not has_columns(tmp_path, ["a"])
    assert not has_columns(write(tmp_path / "empty.csv", ""), ["a"])


@pytest.mark.parametrize(("cell", "words"), [("x", "'x'"), ("inf", "'inf'"), ("", "''")])
def test_cells_that_are_no_numbers(tmp_path: Path, cell: str, words: str) -> None:
    (row,) = read_table(write(tmp_path / "t.csv", f"a,b\n{cell},0\n"), ["a"])
    with pytest.raises(InputError, match=f"line 2: a is {words}, expected an age"):
        row.number("a", "an age")


def test_vectors_of_another_length(tmp_path: Path) -> None:
    (row,) = read_table(write(tmp_path / "t.csv", 'a\n"1, 2"\n'), ["a"])
    with pytest.raises(InputError, match="line 2: a has 2 numbers, expected 3"):
        row.numbers("a", 3)


@settings(max_examples=40, deadline=None)
@given(attributes=st.lists(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), SCALARS), max_size=3))
def test_attributes_of_nodules_come_back(attributes: list[dict[str, int | float | str]]) -> None:
    nodules = [replace(NODULE, attributes=one) for one in attributes]
    with tempfile.TemporaryDirectory() as name:
        write_nodules(Path(name, "n.csv"), nodules)
        back = read_nodules(Path(name, "n.csv"))
    assert back == nodules
    kinds = [[type(value) for value in one.attributes.values()] for one in (*back, *nodules)]
    assert kinds[: len(back)] == [[type(one.attributes[name]) for name in sorted(one.attributes)] for one in nodules]


def test_columns_that_are_not_ours_are_passed_over(tmp_path: Path) -> None:
    write_nodules(tmp_path / "n.csv", [replace(NODULE, attributes={"subset": 3})])
    text = (tmp_path / "n.csv").read_text().replace("attr_subset", "PatientName")
    assert read_nodules(write(tmp_path / "n.csv", text)) == [NODULE]
    write_nodules(tmp_path / "strict.csv", [replace(NODULE, attributes={"subset": 3})], extra=False)
    assert "subset" not in (tmp_path / "strict.csv").read_text()


def test_points_come_back(tmp_path: Path) -> None:
    points = [("a", Finding((1.25, -2.0, 1 / 3), 5.5)), ("b", Finding((0.0, 0.0, 0.0), -1.0))]
    write_points(tmp_path / "p.csv", points)
    assert [(series, finding) for series, finding, _ in read_points(tmp_path / "p.csv")] == points
    write(tmp_path / "p.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm\n,1,2,3,4\n")
    with pytest.raises(InputError, match="line 2: no seriesuid"):
        read_points(tmp_path / "p.csv")
