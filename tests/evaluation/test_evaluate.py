"""The evaluation folder of a tiny pair, and the one line that a bad detections file earns."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lungct.cli import evaluate as verb
from lungct.errors import InputError, OutputExists, UsageError

FIGURES = ("precision_recall", "froc", "ap_over_iou", "reliability")
FILES = {"metrics.json", "metrics.csv", "tables.md", "tables.tex", "draws.npz", "manifest.ndjson"} | {
    f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Three images of two patients with a nodule each, the first of them found, as another program writes COCO."""
    truth = {
        "images": [{"id": f"im{k}", "file_name": f"{k}.png", "width": 64, "height": 64} for k in range(3)],
        "annotations": [
            {"id": k + 1, "image_id": f"im{k}", "category_id": 7, "bbox": [10, 10, 8, 8]} for k in range(2)
        ],
        "categories": [{"id": 7, "name": "PN"}],
    }
    rows = [
        {"image_id": "im0", "category_id": 7, "bbox": [10, 10, 8, 8], "score": 0.9},
        {"image_id": "im0", "category_id": 7, "bbox": [11, 11, 8, 8], "score": 0.8},
        {"image_id": "im2", "category_id": 7, "bbox": [40, 40, 8, 8], "score": 0.7},
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(rows))
    return tmp_path / "truth.json", tmp_path / "found.json"


def test_folder(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = verb.run(*pair, tmp_path / "out", bootstrap=200)
    assert result.output == tmp_path / "out"
    assert {one.name for one in (tmp_path / "out").iterdir()} == FILES
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["schema"] == "lungct.metrics/2"
    assert [metrics[key] for key in ("images", "patients", "nodules", "boxes", "detections")] == [3, 3, 2, 2, 3]
    assert set(metrics["ap"]) == set(metrics["ar"]) == {"0.1", "0.5", "0.75", "0.5:0.95", "0.05:0.95"}
    assert [float(key) for key in metrics["ap_by_iou"]] == pytest.approx([k / 20 for k in range(1, 20)])
    assert metrics["ap"]["0.5"] == pytest.approx(51 / 101)
    assert metrics["ar"]["0.5:0.95"] == 0.5
    aps = {f"{kind}@{iou}" for kind in ("ap", "ar") for iou in metrics["ap"]}
    rates = {f"sensitivity@{rate}fp" for rate in metrics["froc"]["at"]}
    assert set(metrics["ci95"]) == aps | rates | {"froc_mean", "sensitivity", "precision", "f1", "ece"}
    assert metrics["froc"]["at"]["8"] == 0.5
    assert len(metrics["pr50"]["recall"]) == len(metrics["pr50"]["precision"]) == 101
    counts = {name: metrics["counts"][name] for name in ("tp", "fp", "fn", "duplicates")}
    assert counts == {"tp": 1, "fp": 1, "fn": 1, "duplicates": 1}
    with open(tmp_path / "out/metrics.csv") as stream:
        rows = {row["measure"]: row for row in csv.DictReader(stream)}
    assert float(rows["ap@0.5"]["value"]) == metrics["ap"]["0.5"]
    assert float(rows["froc_mean"]["low95"]) == metrics["ci95"]["froc_mean"][0]


def test_same_bytes_again(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        verb.run(*pair, tmp_path / name, bootstrap=50, seed=3)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_dry_run_and_overwrite(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert verb.run(*pair, tmp_path / "out", dry_run=True).data == {"images": 3, "boxes": 2, "detections": 3}
    assert not (tmp_path / "out").exists()
    verb.run(*pair, tmp_path / "out", bootstrap=0)
    assert json.loads((tmp_path / "out/metrics.json").read_text())["ci95"] == {}
    with pytest.raises(OutputExists):
        verb.run(*pair, tmp_path / "out", bootstrap=0)
    verb.run(*pair, tmp_path / "out", bootstrap=0, overwrite=True)


def test_nothing_found_is_zero(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[1].write_text("[]")
    verb.run(*pair, tmp_path / "out", bootstrap=20)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["ap"]["0.5"] == metrics["froc"]["mean"] == metrics["counts"]["precision"] == 0


def test_truth_without_a_box(pair: tuple[Path, Path], tmp_path: Path) -> None:
    document = json.loads(pair[0].read_text())
    pair[0].write_text(json.dumps(document | {"annotations": []}))
    with pytest.raises(InputError, match="no true box"):
        verb.run(*pair, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 12.5}, "score 12.5, expected 0..1"),
        ({"score": float("nan")}, "score nan"),
        ({"bbox": [10, float("nan"), 8, 8]}, "record 1 is broken"),
        ({"bbox": [40, 40, 60, 60]}, "mostly outside.*is it \\[x1, y1, x2, y2\\]"),
        ({"bbox": [10, 10, 8]}, r"record 1 is broken: bbox \[10, 10, 8\] is not \[x, y, w, h\]"),
        ({"image_id": "im9"}, "image 'im9', which the truth does not hold"),
        ({"image_id": ["im0"]}, "record 1 is broken"),
        ({"category_id": 1}, "category 1, the truth has 7 PN"),
        ({"score": None}, "record 1 is broken"),
        ({"bbox": None}, r"record 1 is broken: bbox None is not \[x, y, w, h\]"),
    ],
)
def test_bad_record(pair: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = json.loads(pair[1].read_text())
    rows[1] |= change
    pair[1].write_text(json.dumps(rows))
    with pytest.raises(InputError, match=message) as caught:
        verb.run(*pair, tmp_path / "out")
    assert str(pair[1]) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_truth_given_as_detections(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[1].write_text(json.dumps(json.loads(pair[0].read_text())["annotations"]))
    with pytest.raises(InputError, match=r"record 0 has no score$"):
        verb.run(*pair, tmp_path / "out")


def test_ids_of_another_type(pair: tuple[Path, Path], tmp_path: Path) -> None:
    document = json.loads(pair[0].read_text())
    for image in document["images"]:
        image["id"] = int(image["id"].removeprefix("im"))
    for annotation in document["annotations"]:
        annotation["image_id"] = int(annotation["image_id"].removeprefix("im"))
    pair[0].write_text(json.dumps(document))
    rows = [row | {"image_id": row["image_id"].removeprefix("im")} for row in json.loads(pair[1].read_text())]
    pair[1].write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"image '0'.*the truth's is 0, a number"):
        verb.run(*pair, tmp_path / "out")


def test_corners_in_place_of_sizes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Inside their image even if read as sizes, so that no single record is at fault."""
    pair[1].write_text(json.dumps([row | {"bbox": [10, 10, 18, 18]} for row in json.loads(pair[1].read_text())[:2]]))
    with pytest.raises(
        InputError, match=r"look like \[x1, y1, x2, y2\]: read so, 2 lie on a true box, else 0"
    ) as caught:
        verb.run(*pair, tmp_path / "out")
    assert "\n" not in str(caught.value)
    pair[1].write_text(json.dumps([{"image_id": "im0", "category_id": 7, "bbox": [3, 3, 20, 20], "score": 0.9}]))
    assert verb.run(*pair, tmp_path / "out", bootstrap=0).data["counts"]["tp"] == 1, "a true box may be small beside it"


def test_shares_in_place_of_pixels(pair: tuple[Path, Path], tmp_path: Path) -> None:
    rows = json.loads(pair[1].read_text())
    pair[1].write_text(json.dumps([row | {"bbox": [one / 64 for one in row["bbox"]]} for row in rows]))
    with pytest.raises(InputError, match=r"look normalised: read so, 2 lie on a true box, else 0") as caught:
        verb.run(*pair, tmp_path / "out")
    assert "in pixels" in str(caught.value)
    pair[1].write_text(json.dumps([rows[0] | {"bbox": [0, 0, 1, 1]}]))
    assert verb.run(*pair, tmp_path / "out", bootstrap=0).data["counts"]["fp"] == 1, "a pixel in the corner may be one"


def test_category_zero_and_no_info(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """As another tool writes them: string ids, no info block, categories from 0."""
    for path in pair:
        path.write_text(path.read_text().replace('"category_id": 7', '"category_id": 0').replace('"id": 7', '"id": 0'))
    metrics = verb.run(*pair, tmp_path / "out", bootstrap=0).data
    assert metrics["ap"]["0.5"] == pytest.approx(51 / 101)


def test_recalibrate_on_one_split_and_apply_on_another(pair: tuple[Path, Path], tmp_path: Path) -> None:
    verb.run(*pair, tmp_path / "fit", bootstrap=0, recalibrate="temperature")
    record = json.loads((tmp_path / "fit/calibration.json").read_text())
    assert (record["schema"], record["method"]) == ("lungct.calibration/1", "temperature")
    assert record["fitted_on"]["n"] == 3
    assert record["temperature"] > 1, "one of three is true at scores of .8"
    verb.run(*pair, tmp_path / "applied", bootstrap=0, calibration=tmp_path / "fit/calibration.json")
    plain, applied = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("fit", "applied"))
    assert applied["calibration"]["ece"] == pytest.approx(record["fitted_on"]["ece_after"])
    assert applied["calibration"]["ece"] != pytest.approx(plain["calibration"]["ece"])
    assert applied["ap"] == plain["ap"]
    assert not (tmp_path / "applied/calibration.json").exists()


def test_no_score_cannot_be_recalibrated(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[1].write_text("[]")
    with pytest.raises(UsageError, match="can be recalibrated only where"):
        verb.run(*pair, tmp_path / "out", recalibrate="isotonic")
