"""A JSON array in pieces is the array, and a results file read by columns is what reading it record by record gives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungct.errors import InputError
from lungct.io import coco, json_rows
from lungct.io.coco import CocoImage, CocoTruth, read_detections
from lungct.io.coco_columns import result_columns

TRICKY = st.recursive(
    st.one_of(st.none(), st.integers(), st.text('},{[]" \\a\n', max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("},{", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abc"), TRICKY, max_size=3), max_size=12),
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
def test_pieces_are_the_whole(rows: list[Any], size: int, indent: int | None) -> None:
    text = "\n " + json.dumps(rows, indent=indent) + "\n"
    assert [row for piece in json_rows.pieces(text, size) for row in piece] == rows


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}', '[{"a": 1}, {"a" 2}]', "[{}] 5", "[", "", '[{"a": 1},]'])
def test_the_place_of_a_fault_is_that_in_the_text(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as ours:
        list(json_rows.pieces(text, 4))
    with pytest.raises(json.JSONDecodeError) as theirs:
        json.loads(text)
    assert ours.value.pos == pytest.approx(theirs.value.pos, abs=1)


def test_json_that_is_no_array() -> None:
    for text in ("{}", "5", '"["'):
        with pytest.raises(ValueError, match="not an array"):
            list(json_rows.pieces(text))


ODD = st.sampled_from(
    [
        {"image_id": "7"},
        {"image_id": True},
        {"category_id": "1"},
        {"category_id": 2.9},
        {"score": "0.5"},
        {"score": True},
        {"score": [0.5]},
        {"score": 1.0000001},
        {"bbox": ["1", 2, 3, 4]},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, 3, None]},
        {"bbox": [60, 60, 9, 9]},
        {"bbox": [1, 1, -1, 1]},
        {"bbox": [1e308, 1, 1e308, 1]},
        {"image_id": [1]},
        {},
    ]
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12), odd=ODD)
def test_columns_equal_records(seed: int, count: int, odd: dict[str, Any], tmp_path_factory: Any) -> None:
    """Either both ways accept a file and read the same from it, or the columns leave it to the records."""
    random = np.random.default_rng(seed)
    truth = CocoTruth({1: "a", 2: "b"}, [CocoImage(k, "", 64, 48) for k in (1, 5, 2)], [])
    boxes = random.uniform(0, 30, (count, 4)).round(2).tolist()
    rows: list[dict[str, Any]] = [
        {"image_id": int(random.choice([1, 5, 2])), "category_id": 1, "bbox": box, "score": int(random.integers(5)) / 4}
        for box in boxes
    ]
    if rows:
        rows[int(random.integers(count))].update(odd)
    places = {image.id: place for place, image in enumerate(truth.images)}
    extents = np.array([(64, 48)] * 3)
    columns = result_columns(rows, places, extents, truth.categories)
    path = tmp_path_factory.mktemp("rows") / "found.json"
    path.write_text(json.dumps(rows))
    records, complaint = _slowly(path, rows, places, truth)
    if complaint:
        assert columns is None
        with pytest.raises(InputError, match=re.escape(complaint)):
            read_detections(path, truth)
        return
    found = read_detections(path, truth, np.float64)
    assert sum(map(len, found)) == count
    for place, one in enumerate(found):
        mine = sorted((row for row in records if row[0] == place), key=lambda row: -row[3])
        assert one.boxes_xyxy_px.tolist() == [list(row[1]) for row in mine]
        assert list(zip(one.labels.tolist(), one.scores.tolist(), strict=True)) == [row[2:] for row in mine]


def _slowly(path: Path, rows: list[Any], places: dict[Any, int], truth: CocoTruth) -> tuple[list[Any], str]:
    try:
        return [coco._record(path, number, row, places, truth) for number, row in enumerate(rows)], ""
    except InputError as problem:
        return [], str(problem)


def test_a_fault_far_down_names_its_record(tmp_path: Path) -> None:
    truth = CocoTruth({1: "a"}, [CocoImage(1, "", 64, 64)], [])
    rows = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5} for _ in range(3000)]
    rows[2345] = rows[0] | {"score": 7}
    (tmp_path / "found.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="record 2345 has score 7"):
        read_detections(tmp_path / "found.json", truth)
