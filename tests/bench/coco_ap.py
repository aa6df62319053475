"""What the twelve COCO numbers of 50,000 images with 10 detections each cost, from the two JSON files: run it.

Beside the reference program (pycocotools) and its C++ heir (faster-coco-eval): each reads the files, matches at ten IoU
thresholds in four ranges of area, and gives the same numbers. The judging alone, without the reading, is told too.
"""
# ruff: noqa: T201

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measured
import numpy as np

IMAGES, DETECTIONS, SIDE_PX = 50_000, 10, 512
OURS, REFERENCE, FASTER = "lungct", "pycocotools", "faster-coco-eval"


def write_data(folder: Path, images: int = IMAGES) -> None:
    """A truth of 0 to 3 boxes an image, and detections of which those near a box score higher."""
    random = np.random.default_rng(0)
    count = random.integers(0, 4, images)
    of = np.repeat(np.arange(images), count)
    side = np.exp(random.normal(np.log(24), 0.8, (len(of), 2))).clip(3, 250)
    corner = random.random((len(of), 2)) * (SIDE_PX - side)
    place = np.repeat(np.arange(images), DETECTIONS)
    turn = np.tile(np.arange(DETECTIONS), images)
    near = turn < 2 * count[place]
    first = np.searchsorted(of, np.arange(images))
    target = np.minimum(first[place] + turn % np.maximum(count[place], 1), len(of) - 1)
    size = np.exp(random.normal(np.log(24), 0.8, (len(place), 2))).clip(3, 250)
    size[near] = (side[target] * np.exp(random.normal(0, 0.15, size.shape)))[near]
    at = random.random(size.shape) * (SIDE_PX - size)
    at[near] = (corner[target] + random.normal(0, 0.08, size.shape) * side[target])[near]
    score = np.where(near, random.beta(4, 2, len(place)), random.beta(1, 5, len(place)))
    boxes = np.concatenate([corner, side], axis=1).round(2).tolist()
    document = {
        "images": [{"id": k, "file_name": f"{k}.npz", "width": 999, "height": 999} for k in range(1, images + 1)],
        "annotations": [
            {"id": k, "image_id": image + 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, (image, box) in enumerate(zip(of.tolist(), boxes, strict=True), 1)
        ],
        "categories": [{"id": 1, "name": "nodule"}],
    }
    found = np.concatenate([at.clip(0), size], axis=1).round(2).tolist()
    rows = [
        {"image_id": image + 1, "category_id": 1, "bbox": box, "score": round(one, 5)}
        for image, box, one in zip(place.tolist(), found, score.tolist(), strict=True)
    ]
    (folder / "truth.json").write_text(json.dumps(document))
    (folder / "found.json").write_text(json.dumps(rows))


def ours(folder: Path) -> dict[str, Any]:
    """This package's way."""
    from lungct.evaluation.coco_summary import coco_summary
    from lungct.evaluation.pairs import pair_up
    from lungct.io.coco import read_detections, read_truth

    truth = read_truth(folder / "truth.json")
    detections = read_detections(folder / "found.json", truth, np.float64)
    start = time.process_time()
    pairs = pair_up(truth, detections)
    del detections  # all of it is in the pairs now
    numbers = list(coco_summary(pairs).values())
    return {"numbers": numbers, "judging_s": time.process_time() - start}


def theirs(way: str, folder: Path) -> dict[str, Any]:
    """The way of either peer, by its own documented calls."""
    if way == REFERENCE:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        found = truth.loadRes(str(folder / "found.json"))
        start = time.process_time()
        judge = COCOeval(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {"numbers": [float(one) for one in judge.stats[:12]], "judging_s": time.process_time() - start}


def one_run(way: str, folder: Path) -> None:
    """The process of one run: import, then measure."""
    if way == OURS:
        import lungct.evaluation.coco_summary
        import lungct.io.coco  # noqa: F401
    elif way == REFERENCE:
        import pycocotools.cocoeval  # noqa: F401
    else:
        import faster_coco_eval  # noqa: F401
    measured.report_self(lambda: ours(folder) if way == OURS else theirs(way, folder))


def main(repeats: int = 3) -> None:
    """Write the data, measure all ways in turn, print."""
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        figures = measured.in_turn(Path(__file__), [OURS, REFERENCE, FASTER], folder, repeats=repeats)
    mine = figures[OURS]
    for way in (REFERENCE, FASTER):
        assert np.allclose(figures[way].said["numbers"], mine.said["numbers"], rtol=0, atol=1e-9), f"{way} differs"
    print(f"{IMAGES} images x {DETECTIONS} detections, twelve numbers from two files; all give the same to 1e-9")
    print(measured.table(figures, OURS))
    for way in (REFERENCE, FASTER):
        judging = figures[way].said["judging_s"] / mine.said["judging_s"]
        memory = mine.peak_mb / figures[way].peak_mb
        cheaper = figures[way].median_s / mine.median_s
        print(f"than {way}: {cheaper:.1f} times cheaper (judging alone {judging:.1f}), {memory:.2f} of its memory")


if __name__ == "__main__":
    one_run(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main(*map(int, sys.argv[1:]))
