"""The report tells how many maps mean little, and shows the first contact sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lungct.io.manifest import write_manifest
from lungct.report.contact_sheet import FOLDER, Cell, SheetRow, draw_sheet
from lungct.report.folders import Places, read_outputs
from lungct.report.html import write_report
from lungct.report.sections import MOST_SHEETS, map_section

from .synthetic_run import write_split

BOX = (20.0, 20.0, 30.0, 32.0)


def leave_maps(folder: Path) -> None:
    rows = [
        {"flag": "zero", "zero_gradient": True, "lost_fraction": None},
        {"flag": "zero", "zero_gradient": False, "lost_fraction": 0.75},
        {"flag": "", "lost_fraction": 0.25},
    ]
    for method in ("scorecam", "gaussian"):
        (folder / "heatmaps" / method).mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in (rows if method == "scorecam" else rows[2:]))
        (folder / "heatmaps" / method / "index.ndjson").write_text(lines)
        write_manifest(folder / "heatmaps" / method, "explain", {"method": method})
    image = np.full((64, 64), -800, np.int16)
    rows_shown = [
        SheetRow(["score 0.91", "true positive", "slice 3"], image, BOX, np.array([BOX]), (0.7, 0.7), cells)
        for cells in ([Cell(np.ones((64, 64))), None], [Cell(np.zeros((64, 64)), "zero"), None])
    ]
    for number in range(MOST_SHEETS + 1):
        path = folder / "heatmaps" / FOLDER / f"p{number}.png"
        draw_sheet(path, ["scorecam", "gaussian"], rows_shown, window_hu=(-1000, 400), note="3 further ones")


def test_flags_by_method_and_some_of_the_sheets(tmp_path: Path) -> None:
    leave_maps(tmp_path)
    write_split(tmp_path / "slices", "test", 1, 1)
    (tmp_path / "detections.json").write_text("[]")
    outputs = read_outputs(Places.under(tmp_path))
    assert list(outputs.methods or {}) == ["scorecam", "gaussian"], "the sheets are no method"
    section = map_section(outputs)
    assert section is not None
    assert [list(row) for row in section.tables[0].rows] == [
        ["scorecam", "3", "1 zero, 1 zero gradient", "50%"],
        ["gaussian (control)", "1", "none", "25%"],
    ]
    assert len(section.figures) == MOST_SHEETS
    write_report(tmp_path / "report.html", Places.under(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "1 zero, 1 zero gradient" in page
    assert f"Contact sheets of {MOST_SHEETS} of {MOST_SHEETS + 1} patients" in page


def test_no_index_no_section(tmp_path: Path) -> None:
    (tmp_path / "heatmaps" / "eigencam").mkdir(parents=True)
    assert map_section(read_outputs(Places.under(tmp_path))) is None
