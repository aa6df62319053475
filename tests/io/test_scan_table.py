"""Tables of nodules on scans as different people write them, and the one line that a broken one earns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io.scan_table import ScanPlaces, bare_id, is_json, read_scan_ids, read_scan_rows

SUBMISSION = "seriesuid,coordX,coordY,coordZ,probability\n1.2.3,1,-2,3.5,0.25\n1.2.4,4,5,6,-7\n"


def written(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        SUBMISSION,
        SUBMISSION.replace(",", "\t"),
        SUBMISSION.replace(",", ";"),
        SUBMISSION.replace(",", ", ").replace("\n", " \r\n"),
        "\ufeff" + SUBMISSION.replace("seriesuid", "SeriesUID").replace("coord", "COORD").replace("prob", "Prob"),
        "Z_mm,score,Y,X,Scan\n3.5,0.25,-2,1,'1.2.3'\n\n6,-7,5,4,scans/1.2.4.nii.gz\n",
    ],
)
def test_one_submission_many_ways(tmp_path: Path, text: str) -> None:
    rows = read_scan_rows(written(tmp_path, text), scored=True)
    assert rows.scan == ("1.2.3", "1.2.4")
    assert rows.center_lps_mm.tolist() == [[1, -2, 3.5], [4, 5, 6]]
    assert rows.score.tolist() == [0.25, -7]
    assert np.isnan(rows.diameter_mm).all()
    assert np.isnan(rows.size_mm).all()


def test_truth_of_luna16_and_of_the_dlcs24_layout(tmp_path: Path) -> None:
    luna = "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool\n1.2,1,2,3,-1,True\n"
    rows = read_scan_rows(written(tmp_path, luna), scored=False)
    assert rows.diameter_mm.tolist() == [-1]
    assert rows.other == {"mal_bool": ["True"]}
    dlcs = "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split\n"
    rows = read_scan_rows(written(tmp_path, dlcs + "P1,n,DLCS_0001.nii.gz,1,2,3,4,5,6,0,train\n"), scored=False)
    assert (rows.scan, rows.patient) == (("DLCS_0001",), ("P1",))
    assert rows.size_mm.tolist() == [[4, 5, 6]]
    assert rows.diameter_mm.tolist() == [5]
    assert set(rows.other) == {"nodule_id", "malignant_lbl", "benchmark_split"}


def test_header_alone_is_no_mark(tmp_path: Path) -> None:
    assert len(read_scan_rows(written(tmp_path, SUBMISSION.split("\n")[0]), scored=True)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SUBMISSION.split("\n", 1)[1], "no column seriesuid"),
        (SUBMISSION.replace("probability", "class"), "no column probability"),
        (SUBMISSION.replace("coordZ", "slice"), "no column coordz"),
        (SUBMISSION.replace("-7", "nan"), "line 3: probability is nan"),
        (SUBMISSION.replace("-7", "high"), "line 3: probability is not a number"),
        (SUBMISSION.replace("3.5", "1e999"), "line 2: coordz is 1e999"),
        (SUBMISSION.replace(",-7", ""), "line 3 has 4 cells, the header 5"),
        (SUBMISSION.replace("coordY", "coordX"), "two columns have one name"),
        ("", "no column seriesuid"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_scan_rows(written(tmp_path, text), scored=True)
    assert "1.2.3" not in str(caught.value), "an identifier in a message"
    assert "\n" not in str(caught.value)


def test_truth_without_a_size(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column diameter_mm"):
        read_scan_rows(written(tmp_path, SUBMISSION), scored=False)


@pytest.mark.parametrize(
    "text", ["a1\nb2\n", "seriesuid\na1\n\nb2", "SeriesUID,x\na1,1\na1,2\nb2,3\n", " a1 \n'b2',\n"]
)
def test_lists_of_scans(tmp_path: Path, text: str) -> None:
    assert read_scan_ids(written(tmp_path, text)) == ["a1", "b2"]


def test_list_from_a_manifest(tmp_path: Path) -> None:
    lines = [{"schema": "lungct.run/1"}, {"case_id": "a1"}, {"case_id": "b2"}]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)), "manifest.ndjson")
    assert read_scan_ids(path) == read_scan_ids(tmp_path) == ["a1", "b2"]


@pytest.mark.parametrize(("text", "message"), [("", "no scan id"), ("a\nb\na\n", "1 of the scans are listed twice")])
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_scan_ids(written(tmp_path, text))


def test_missing_and_binary(tmp_path: Path) -> None:
    for read in (read_scan_ids, is_json, lambda path: read_scan_rows(path, scored=True)):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not readable as a table"):
        read_scan_ids(tmp_path / "b.csv")


def test_padded_and_bare_ids_meet() -> None:
    places = ScanPlaces(["DLCS_0007", "DLCS_0070", "1.2.03"])
    assert places.of(["DLCS_0007", "DLCS_7", "7", "00070", "8", "1.2.3", "X_7", ""]).tolist() == [
        0,
        0,
        0,
        1,
        -1,
        2,
        -1,
        -1,
    ]
    assert ScanPlaces(["7", "70"]).of(["DLCS_0007", "LNDb-70"]).tolist() == [0, 1]
    assert ScanPlaces(["A_7", "B_7"]).of(["7", "A_07"]).tolist() == [-1, 0], "two scans fit"


def test_bare_id() -> None:
    written = [" 'DLCS_0001.nii.gz' ", "subset0/1.2.3.mhd", "1.2.3", r"c:\scans\a.nrrd", ""]
    assert [bare_id(one) for one in written] == ["DLCS_0001", "1.2.3", "1.2.3", "a", ""]


def test_is_json(tmp_path: Path) -> None:
    assert is_json(written(tmp_path, '\n  {"images": []}'))
    assert is_json(written(tmp_path, "\ufeff[]", "t.json"))
    assert not is_json(written(tmp_path, SUBMISSION))
    assert not is_json(written(tmp_path, '{"case_id": 1}', "manifest.ndjson"))
    with pytest.raises(InputError, match="empty: expected COCO JSON, or a table"):
        is_json(written(tmp_path, " \n"))
    (tmp_path / "found.json.gz").write_bytes(gzip.compress(b"[]"))
    with pytest.raises(InputError, match="neither JSON nor a table: it is no UTF-8 text; is it packed"):
        is_json(tmp_path / "found.json.gz")
