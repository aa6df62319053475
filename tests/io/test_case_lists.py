"""Lists of names and of slices, as people type them and as programs write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungct.errors import InputError
from lungct.io.case_lists import read_case_slices, read_names, slice_name, split_slice_name


def test_names_and_their_lines(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes("\ufeffa  \r\n\r\n# all of b\r\n  b/0012 # blurred\r\nc\r\n".encode())
    assert read_names(tmp_path / "names") == {"a": 1, "b/0012": 4, "c": 5}


def test_slice_names_there_and_back() -> None:
    assert split_slice_name(slice_name("case.1", 12)) == ("case.1", 12)
    assert [split_slice_name(one) for one in ("case", "case/x", "/3", "case/", "case/-1", "case/²")] == [None] * 6


@pytest.mark.parametrize(
    "text",
    [
        "case_id,z_index\na,3\na,4\nb,0\n",
        "\ufeffscore,z_index,case_id\r\n.9,3,a\r\n.9,04, a\r\n.1,0,b\r\n",
        "image_id,score\na/0003,1\na/0004,1\nb/0000,1\n",
        json.dumps([{"image_id": name, "bbox": [0, 0, 1, 1]} for name in ("a/0003", "a/0004", "a/0004", "b/0000")]),
    ],
)
def test_slices_of_a_csv_or_of_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    assert read_case_slices(tmp_path / "list") == {"a": {3, 4}, "b": {0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no columns"),
        ("case_id;z_index\na;3\n", "no columns"),
        ("case_id,z_index\na,3\na\n", "line 3: expected a case_id and a z_index"),
        ("case_id,z_index\na,-1\n", "line 2: expected"),
        ("case_id,z_index\n,1\n", "line 2: expected"),
        ('[{"image_id": 7}]', "record 0: its image_id is not <case_id>/<z_index>"),
        ('[{"image": "a/0001"}]', "not a COCO results array"),
        ('{"images": []}', "not a COCO results array"),
        ("[", "not readable as JSON"),
    ],
)
def test_other_lists_are_refused_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_case_slices(tmp_path / "list")
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_names(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not readable as text"):
        read_case_slices(tmp_path / "binary")


@pytest.mark.parametrize("text", ["", "\n# nothing\n"])
def test_a_list_may_name_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty").write_text(text)
    assert read_names(tmp_path / "empty") == {}


@pytest.mark.parametrize("text", ["[]", "image_id,score\n", "case_id,z_index\n"])
def test_a_list_may_hold_no_slice(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty").write_text(text)
    assert read_case_slices(tmp_path / "empty") == {}
