"""Tables of an evaluation, and their Markdown and LaTeX."""

from __future__ import annotations

from typing import Any

from lungct.report.evaluation_tables import comparison_tables, tables_of
from lungct.report.table import Table
from lungct.report.text_tables import latex, markdown

AT = {"0.125": 0.5, "1": 0.75}
METRICS: dict[str, Any] = {
    "ap": {"0.5": 0.7, "0.5:0.95": 0.4},
    "ar": {"0.5": 0.8, "0.5:0.95": 0.5},
    "ci95": {"ap@0.5": [0.6, 0.8], "froc_mean": [0.5, 0.7], "ece": [0.1, 0.2], "f1": [0.3, 0.5]},
    "froc": {"unit": "scan", "at": AT, "mean": 0.625, "score_at": {"0.125": 0.9, "1": 0.4}, "cpm": {"grid": 0.863767}},
    "counts": {"score": 0.5, "tp": 4, "fn": 2, "f1": 0.4},
    "criteria": [
        {"hit": "radius", "at": AT, "mean": 0.625, "ci95": None},
        {"hit": "IoU 0.1", "at": None, "mean": None},
    ],
    "by_size": [{"unit": "mm", "class": "4 to 6", "n": 9, "ap": {"0.5": 0.1}, "ar": {"0.5": 0.2}}],
    "by_category": [{"category": "a_b", "n": 9, "ap": {"0.5": 0.1}, "ar": {}}] * 2,
    "other_ap": {
        "voc_11_point": {"0.5": 0.71},
        "voc_every_point": {"0.5": 0.69},
        "score_thresholds": {"iou": 0.21, "map": 0.3, "mean_iou": 0.6},
    },
    "errors": {"background": {"n": 3, "dap": 0.05}},
    "area_ratios": {
        "n": 5,
        "bigger": {"share": 0.6, "mean": 1.5, "median": 1.4, "min": 1.1, "max": 2.0},
        "smaller": {"share": 0.0, "mean": None, "median": None, "min": None, "max": None},
    },
    "confusion": {"categories": ["a", "b"], "counts": [[1, 2, 3], [4, 5, 6], [7, 8, 0]]},
    "calibration": {"n": 20, "ece": 0.15, "brier": 0.2},
    "breakdown": [
        {
            "attribute": "slice_thickness_mm",
            "level": "1 to 1.5",
            "n": 3,
            "patients": 2,
            "sensitivity": 0.5,
            "sensitivity_ci95": [0.2, 0.9],
            "froc_mean": 0.6,
            "froc_mean_ci95": None,
        }
    ],
}


def rows(caption: str) -> list[list[str]]:
    """The rows of the table whose caption begins so."""
    return [list(row) for one in tables_of(METRICS) if one.caption.startswith(caption) for row in one.rows]


def test_every_part_has_its_table() -> None:
    assert len(tables_of(METRICS)) == 12
    twelve = {"AP": 0.4, "AP50": 0.8, "AP75": 0.3, "AP_small": 0.35, "AP_large": None, "AR1": 0.2, "AR10": 0.6}
    summary = tables_of(METRICS | {"coco": twelve})[1]
    assert summary.caption.startswith(
        "COCO's summary: AP at .5 0.800, at .75 0.300; AR of 1 detection 0.200, of 10 0.600"
    )
    assert summary.rows[0] == ["AP .5 to .95", "0.400", "0.350", "–", "–"]
    assert rows("Average precision")[0] == ["0.5", "0.700", "0.600 to 0.800", "0.800"]
    froc = rows("FROC")
    assert froc[0] == ["sensitivity", "0.500", "0.750", "0.625"]
    assert froc[1] == ["95 % interval", "–", "–", "0.500 to 0.700"]
    assert froc[2] == ["at score", "0.900", "0.400", "–"]
    assert froc[3] == ["CPM, 10,000-point grid", "–", "–", "0.863767"]
    assert rows("Sensitivity by criterion") == [["radius", "0.500", "0.750", "0.625"]]
    assert rows("Counts at score 0.5")[-1] == ["f1", "0.400", "0.300 to 0.500"]
    assert rows("By size")[0][:3] == ["4 to 6 mm", "9", "0.100"]
    assert rows("AP by other")[0] == ["VOC, 11 points", "0.5", "0.710", "–"]
    assert rows("AP by other")[-1][1:] == ["0.21", "0.300", "0.600"]
    assert rows("Kinds of error") == [["background", "3", "+0.050"]]
    assert rows("Area of the detection over the true box, 5 hits")[1] == ["smaller", "0.000", "–", "–", "–", "–"]
    assert rows("Confusion")[2] == ["background", "7", "8", "0"]
    assert rows("Calibration of 20 scores")[0] == ["ECE", "0.150", "0.100 to 0.200"]
    assert rows("Sensitivity by what")[0][:4] == ["slice thickness mm", "1 to 1.5", "3", "2"]


def test_an_older_document_gives_what_it_has() -> None:
    old = {"ap": {"0.5": 0.5}, "ar": {}, "froc": {"at": AT, "mean": 0.6}, "counts": {"tp": 1}}
    assert [one.caption for one in tables_of(old)] == ["Average precision and recall", "FROC", "Counts"]
    assert tables_of({}) == []


def test_comparison() -> None:
    test = {"measure": "ap@0.5", "a": "one", "b": "two", "difference": 0.1, "ci95": [0, 0.2], "p": 0.0001}
    runs = [{"name": "one", "values": {"ap@0.5": 0.5}, "ci95": {"ap@0.5": [0.4, 0.6]}}]
    runs_table, tests_table = comparison_tables({"runs": runs, "tests": [{**test, "p_holm": 0.04}]})
    assert runs_table.rows == [["one", "0.500 (0.400 to 0.600)"]]
    assert tests_table.rows == [["one", "two", "+0.100", "0.000 to 0.200", "< 0.001", "0.040"]]


def test_markdown() -> None:
    text = markdown([Table("Sizes", ("a|b", "n"), [["x\ny", "1"]]), Table("Words", ("k", "v"), [], words=True)])
    assert text == "## Sizes\n\n| a\\|b | n |\n| --- | ---: |\n| x y | 1 |\n\n## Words\n\n| k | v |\n| --- | --- |\n"


def test_latex() -> None:
    text = latex([Table("Share in % of a_b", ("k", "n"), [["p < .05 & more", "–"]])])
    assert r"\caption{Share in \% of a\_b}" in text
    assert "p \\textless{} .05 \\& more & -- \\\\\n\\bottomrule" in text
    assert r"\begin{tabular}{lr}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
