"""What other people's tables and images may say: signed images are HU, and texts and long numbers are not told on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungct.errors import InputError
from lungct.io.boxes_csv import DLCS_COLUMNS
from lungct.sources.dlcs import annotated_scans
from lungct.sources.pseudonym import Naming
from lungct.sources.slice_file import load_slice

SAID = {"grade": 3, "share": 0.5, "mrn": 48211733, "born": 19500412, "who": "Doe", "odd": float("nan"), "yes": True}


def test_signed_images_are_hu(tmp_path: Path) -> None:
    hu = np.array([[-1000, 40], [0, 400]], np.int32)
    Image.fromarray(hu).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(load_slice(tmp_path / "a.tif", (-1000, 500)), hu)
    Image.fromarray(np.abs(hu) + 70_000).save(tmp_path / "b.tif")
    with pytest.raises(InputError, match="71000"):
        load_slice(tmp_path / "b.tif", (-1000, 500))


def test_only_small_numbers_are_told_on() -> None:
    assert Naming().attributes(SAID) == {"grade": 3, "share": 0.5, "yes": True}
    assert Naming(keep_ids=True).attributes(SAID) == {name: one for name, one in SAID.items() if name != "odd"}
    json.dumps(Naming(keep_ids=True).attributes(SAID), allow_nan=False)


@pytest.mark.parametrize("keep_ids", [False, True])
def test_a_table_gives_no_text_away(tmp_path: Path, keep_ids: bool) -> None:
    (tmp_path / "a.nii.gz").touch()
    head = (*DLCS_COLUMNS, "source", "attr_note", "attr_grade")
    cells = ("p", "1", "a.nii.gz", "0", "0", "0", "9", "9", "9", "1", "train", "St Mary 1950", "Dr Smith", "4")
    (tmp_path / "t.csv").write_text(",".join(head) + "\n" + ",".join(cells) + "\n")
    (scan,) = annotated_scans([tmp_path / "a.nii.gz"], tmp_path / "t.csv", "dlcs24", Naming(keep_ids=keep_ids))
    (nodule,) = scan.nodules
    assert nodule.source == ("St Mary 1950" if keep_ids else "dlcs24")
    assert nodule.attributes == ({"note": "Dr Smith", "grade": 4} if keep_ids else {"grade": 4})
