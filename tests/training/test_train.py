"""Whole training runs on disks: they learn, repeat, resume and refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungct.errors import InputError, OutputExists, UsageError
from lungct.inference.detect import detect_slices
from lungct.io.checkpoint import load_state, load_tensors
from lungct.io.coco import read_truth
from lungct.io.npz import read_slice, write_slice
from lungct.models.load import load_model
from lungct.registry import DETECTORS
from lungct.training.options import Execution, TrainOptions, preset_options
from lungct.training.state import Standing
from lungct.training.train import _judge, train
from tests.training.disks import write_disks

SMALL: dict[str, Any] = {
    "width": 0.35,
    "fpn_channels": 16,
    "head_units": 16,
    "magnify": 1.0,
    "crop_px": 64,
    "batch": 2,
    "validate_every": 1,
}
ONE_THREAD = Execution(device="cpu", threads=1)


def _options(**more: Any) -> TrainOptions:
    return preset_options("tiny", {**SMALL, "epochs": 2, **more})


def _files(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in sorted(folder.iterdir())}


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    write_disks(tmp_path / "slices", train=6, val=3, size=72)
    return tmp_path / "slices"


def test_a_run_folder_is_complete_and_repeats_to_the_byte(slices: Path, tmp_path: Path) -> None:
    summary = train(slices, tmp_path / "a", _options(), execution=ONE_THREAD)
    train(slices, tmp_path / "b", _options(), execution=Execution(device="cpu", threads=1, workers=1))
    first = _files(tmp_path / "a")
    assert set(first) == {
        "model.safetensors",
        "last.safetensors",
        "state.pt",
        "config.toml",
        "metrics.ndjson",
        "curves.png",
        "manifest.ndjson",
    }
    assert first == _files(tmp_path / "b")
    rows = [json.loads(line) for line in first["metrics.ndjson"].splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    losses = [row["loss"] for row in rows]
    assert losses == pytest.approx(
        [sum(value for name, value in row.items() if name.startswith("loss_")) for row in rows], abs=1e-5
    )
    assert "val_ap50" in rows[-1]
    assert summary.epochs == 2
    manifest = [json.loads(line) for line in first["manifest.ndjson"].splitlines()]
    assert summary.facts()["anchor_recall"] == manifest[-1]["anchor_recall"] > 0.5


def test_another_seed_gives_another_model(slices: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(slices, tmp_path / str(seed), _options(seed=seed, epochs=1), execution=ONE_THREAD)
    assert _files(tmp_path / "0")["last.safetensors"] != _files(tmp_path / "1")["last.safetensors"]


def test_a_killed_run_goes_on_to_the_same_bytes(slices: Path, tmp_path: Path) -> None:
    options = _options(epochs=4)
    train(slices, tmp_path / "whole", options, execution=ONE_THREAD)
    script = (
        "from pathlib import Path\n"
        "from tests.training.test_train import _options, ONE_THREAD, train\n"
        f"train(Path({str(slices)!r}), Path({str(tmp_path / 'cut')!r}), _options(epochs=4), execution=ONE_THREAD)\n"
    )
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", script], cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    state = tmp_path / ".cut.partial" / "state.pt"
    while not state.exists() and child.poll() is None:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert state.exists()
    assert not (tmp_path / "cut").exists()
    train(slices, tmp_path / "cut", options, execution=ONE_THREAD, resume=True)
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


BUSY: dict[str, Any] = {
    "ema": 0.9,
    "accumulate": 2,
    "schedule": "plateau",
    "lr_patience": 1,
    "optimizer": "sgd",
    "backbone": "efficientnet-v2-s",
    "detector": "fcos",
    "class_loss": "cross-entropy",
    "box_loss": "ciou",
    "amp": "bf16",
}


@pytest.mark.parametrize("more", [BUSY, {"optimizer": "adam", "schedule": "warm-restarts", "ema": 0.5}])
def test_every_part_of_the_state_resumes_to_the_same_bytes(
    more: dict[str, Any], slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = _options(epochs=3, **more)
    train(slices, tmp_path / "whole", options, execution=ONE_THREAD)
    _stop_after_first_epoch(slices, tmp_path / "cut", monkeypatch, **{"epochs": 3, **more})
    train(slices, tmp_path / "cut", options, execution=ONE_THREAD, resume=True)
    assert _files(tmp_path / "cut") == _files(tmp_path / "whole")


def test_resuming_with_other_options_is_refused(slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stop_after_first_epoch(slices, tmp_path / "run", monkeypatch)
    with pytest.raises(UsageError, match=r"lr was 0\.001, is 0\.5"):
        train(slices, tmp_path / "run", _options(lr=0.5), execution=ONE_THREAD, resume=True)
    write_disks(slices, train=7, val=3, size=72)
    with pytest.raises(UsageError, match="slices was"):
        train(slices, tmp_path / "run", _options(), execution=ONE_THREAD, resume=True)


def _stop_after_first_epoch(slices: Path, run: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if (run.with_name(f".{run.name}.partial") / "state.pt").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(slices, run, _options(**more), execution=ONE_THREAD, progress=interrupt)


def test_an_interrupted_run_leaves_its_partial_and_no_output(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stop_after_first_epoch(slices, tmp_path / "run", monkeypatch)
    assert not (tmp_path / "run").exists()
    assert load_state(tmp_path / ".run.partial" / "state.pt")["schema"] == "lungct.state/1"


def test_patience_ends_a_run_early(slices: Path, tmp_path: Path) -> None:
    summary = train(
        slices, tmp_path / "run", _options(epochs=9, lr=1e-14, patience=2, norm="group"), execution=ONE_THREAD
    )
    assert summary.epochs == 3
    assert summary.best_epoch == 3


def test_a_tie_keeps_the_later_epoch_and_only_a_gain_ends_the_waiting() -> None:
    standing, seen = Standing(), []
    for epoch, (ap50, ap) in enumerate([(0.0, 0.0), (0.0, 0.0), (0.0, 0.1), (0.5, 0.0), (0.5, 0.0), (0.4, 0.9)], 1):
        standing.epoch = epoch
        seen.append((_judge(standing, {"val_ap50": ap50, "val_ap": ap}), standing.best_epoch, standing.waited))
    assert seen == [(True, 1, 0), (True, 2, 1), (True, 3, 0), (True, 4, 0), (True, 5, 1), (False, 5, 2)]
    assert not _judge(standing, {"loss": 1.0})
    assert standing.waited == 2


def test_what_is_kept_is_the_average(slices: Path, tmp_path: Path) -> None:
    train(slices, tmp_path / "run", _options(ema=0.9), execution=ONE_THREAD)
    state = load_state(tmp_path / "run" / "state.pt")
    kept, _ = load_tensors(tmp_path / "run" / "last.safetensors")
    assert state["average"]["updates"] == 6
    assert all(torch.equal(kept[name], one) for name, one in state["average"]["model"].items())
    assert any(not torch.equal(kept[name], one) for name, one in state["detector"].items())


def test_a_plateau_cuts_the_rate_of_the_next_epoch(slices: Path, tmp_path: Path) -> None:
    still = _options(epochs=4, schedule="plateau", lr_patience=1, lr=1e-14, warmup=0.0, norm="group")
    train(slices, tmp_path / "run", still, execution=ONE_THREAD)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.ndjson").read_text().splitlines()]
    assert [row["lr"] for row in rows] == pytest.approx([1e-14, 1e-14, 1e-15, 1e-16], rel=1e-6, abs=0)


def test_plateau_without_a_validation_split_is_refused(slices: Path, tmp_path: Path) -> None:
    (slices / "val.json").unlink()
    with pytest.raises(UsageError, match="plateau waits for validations"):
        train(slices, tmp_path / "run", _options(schedule="plateau"), execution=ONE_THREAD)


def test_a_run_goes_on_from_another_runs_weights(
    slices: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(slices, tmp_path / "first", _options(epochs=1), execution=ONE_THREAD)
    with caplog.at_level("INFO", logger="lungct"):
        second = _options(epochs=1, lr=1e-12, weights=str(tmp_path / "first"))
        told = train(slices, tmp_path / "second", second, execution=ONE_THREAD).facts()
    assert told["weights_loaded"].startswith("backbone.body")
    assert told["weights_made_anew"] == "nothing"
    assert f"weights_loaded: {told['weights_loaded']}" in caplog.text
    stored = json.loads((tmp_path / "second" / "manifest.ndjson").read_text().splitlines()[-1])
    assert stored["weights_loaded"] == told["weights_loaded"]
    assert str(tmp_path) not in (tmp_path / "second" / "config.toml").read_text()
    before, _ = load_tensors(tmp_path / "first" / "last.safetensors")
    after, _ = load_tensors(tmp_path / "second" / "last.safetensors")
    weights = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)
    with pytest.raises(UsageError, match=r"width 0\.35, this one 0\.5"):
        train(slices, tmp_path / "third", _options(width=0.5, weights=str(tmp_path / "first")), execution=ONE_THREAD)


def test_without_a_validation_split_the_last_epoch_is_kept(slices: Path, tmp_path: Path) -> None:
    (slices / "val.json").unlink()
    summary = train(slices, tmp_path / "run", _options(), execution=ONE_THREAD)
    files = _files(tmp_path / "run")
    assert summary.best_epoch == 2
    assert files["model.safetensors"] == files["last.safetensors"]


def test_a_rate_that_explodes_is_a_clear_error(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not finite at step \d+.*lower --lr"):
        train(slices, tmp_path / "run", _options(lr=1e12, epochs=8), execution=ONE_THREAD)


def test_a_corrupt_slice_is_named(slices: Path, tmp_path: Path) -> None:
    path = slices / "images" / "train" / "0003.npz"
    path.write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"images/train/0003\.npz"):
        train(slices, tmp_path / "run", _options(), execution=Execution(device="cpu", threads=1, workers=1))


def test_splits_that_teach_nothing_are_refused(slices: Path, tmp_path: Path) -> None:
    path = slices / "train.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "annotations": []}))
    with pytest.raises(InputError, match="no boxes"):
        train(slices, tmp_path / "run", _options(), execution=ONE_THREAD)
    path.write_text(json.dumps({**document, "images": [], "annotations": []}))
    with pytest.raises(InputError, match="no images"):
        train(slices, tmp_path / "run", _options(), execution=ONE_THREAD)
    with pytest.raises(InputError, match="no such folder"):
        train(tmp_path / "none", tmp_path / "run", _options(), execution=ONE_THREAD)


def test_an_existing_output_is_refused_before_any_work(slices: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    with pytest.raises(OutputExists):
        train(slices, tmp_path / "run", _options(), execution=ONE_THREAD)
    with pytest.raises(OutputExists, match="not made by lungct"):
        train(slices, tmp_path / "run", _options(), execution=ONE_THREAD, overwrite=True)


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_one_channel_slices_train_and_detect(detector: str, tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=4, val=2, size=72, channels=1)
    train(tmp_path / "slices", tmp_path / "run", _options(epochs=1, detector=detector), execution=ONE_THREAD)
    model = load_model(tmp_path / "run", "cpu")
    truth = read_truth(tmp_path / "slices" / "val.json")
    found = list(detect_slices(model, truth, score_threshold=0.0))
    assert [one.image_id for one in found] == [image.id for image in truth.images]


def test_slices_of_several_sizes_share_a_batch(slices: Path, tmp_path: Path) -> None:
    document = json.loads((slices / "train.json").read_text())
    image = document["images"][0]
    image_hu = read_slice(slices / image["file_name"])
    write_slice(slices / image["file_name"], np.ascontiguousarray(np.pad(image_hu, ((0, 0), (0, 16), (0, 40)))))
    image.update(width=112, height=88)
    (slices / "train.json").write_text(json.dumps(document))
    summary = train(slices, tmp_path / "run", _options(crop_px=0, epochs=1), execution=ONE_THREAD)
    assert summary.epochs == 1


@pytest.mark.slow
def test_a_handful_of_slices_is_learned_by_heart(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=8, val=1, size=96)
    (tmp_path / "slices" / "val.json").write_bytes((tmp_path / "slices" / "train.json").read_bytes())
    options = preset_options("tiny", {"epochs": 40, "crop_px": 96, "validate_every": 10, "augment": "none"})
    summary = train(tmp_path / "slices", tmp_path / "run", options, execution=ONE_THREAD)
    assert summary.best["val_ap50"] >= 0.9
