"""What a training sample costs beside the step that learns from it, and how long the step waits for it: run it.

Slices are 512 x 512 x 3 with two lungs and nodules. Both presets train from scratch on the CPU, as ``lungct train``
does, with every augmentation preset. Costs are medians of CPU time, of samples and of steps each for itself; the
share of waiting is of wall time, with the samples made in a thread of the same process (``--workers 0``, the default)
or in one worker process.
"""
# ruff: noqa: T201

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SLICES, SIDE = 24, 512
ALONE, BATCHES, WARM = 6, 18, 6
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def write_slices(folder: Path) -> None:
    """Chests of ellipses, each of its own patient, with one nodule."""
    from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth, write_truth
    from lungct.io.npz import write_slice

    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    images, annotations = [], []
    for number in range(SLICES):
        hu = np.where(((columns - 256) / 240) ** 2 + ((rows - 256) / 180) ** 2 < 1, 40.0, -1000.0)
        for x in (150, 362):
            hu[((columns - x) / 90) ** 2 + ((rows - 256) / 140) ** 2 < 1] = -850
        x, y, radius = 150 + random.uniform(-40, 40), 256 + random.uniform(-60, 60), random.uniform(3, 12)
        hu[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = 30
        stack = (hu + random.normal(0, 30, (3, SIDE, SIDE))).clip(-1000, 500).astype(np.int16)
        write_slice(folder / f"{number}.npz", stack)
        images.append(CocoImage(number, f"{number}.npz", SIDE, SIDE, {"patient_id": str(number)}))
        annotations.append(CocoAnnotation(number, number, 1, (x - radius, y - radius, x + radius, y + radius)))
    write_truth(folder / "train.json", CocoTruth({1: "nodule"}, images, annotations))


def one_run(preset: str, augment: str, workers: int, folder: Path) -> dict[str, float]:
    """Train for a few batches; medians per sample and the share of waiting."""
    import torch

    from lungct.training.learner import make_learner
    from lungct.training.loop import training_batches
    from lungct.training.options import preset_options
    from lungct.training.setup import make_card, read_splits

    torch.set_num_threads(THREADS)
    options = preset_options(preset, {"augment": augment})
    splits = read_splits(folder)
    card = make_card(splits.train, options, None)
    device = torch.device("cpu")
    learner = make_learner(card, options, None, device, splits.digest)
    batches, loader = training_batches(splits.train, card, options, workers=workers, device=device)
    learner.detector.train()
    kept = list(loader)[-1]  # an epoch, in which slices are read and lungs found, which is done once
    sample_s = _cpu_s(iter(loader), lambda loaded: None)
    step_s = _cpu_s(itertools.repeat(kept), lambda loaded: _learn(learner, loaded))
    waits, steps, clock = [], [], time.perf_counter()
    for loaded in itertools.islice(_endless(batches, loader), WARM + BATCHES):
        arrived = time.perf_counter()
        _learn(learner, loaded)
        waits.append(arrived - clock)
        clock = time.perf_counter()
        steps.append(clock - arrived)
    waited = sum(waits[WARM:])
    return {
        "sample_ms": 1e3 * sample_s / options.batch,
        "step_ms": 1e3 * step_s / options.batch,
        "waiting": waited / (waited + sum(steps[WARM:])),
    }


def _learn(learner: Any, loaded: Any) -> None:
    learner.begin(1e-4)
    learner.look(loaded, 1.0)
    learner.finish()


def _cpu_s(batches: Iterator[Any], use: Callable[[Any], None]) -> float:
    """Median CPU-seconds of getting and using a batch, in this process."""
    costs, clock = [], time.process_time()
    for loaded in batches:
        use(loaded)
        costs.append(time.process_time() - clock)
        clock = time.process_time()
        if len(costs) == ALONE:
            break
    return statistics.median(costs)


def _endless(batches: Any, loader: Any) -> Iterator[Any]:
    from lungct.training.loop import ahead

    while True:
        yield from ahead(loader)
        batches.epoch += 1


def main() -> None:
    """Run every preset with every augmentation and print."""
    from lungct.registry import AUGMENTATIONS

    heads = f"{'sample CPU-ms':>14}{'step CPU-ms':>12}{'ratio %':>9}{'waiting % 0':>13}{'1':>6}"
    print(f"{'preset':<10}{'augment':<14}{heads}")
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder))
        for preset in ("tiny", "default"):
            for augment in AUGMENTATIONS:
                said = [_in_process(preset, augment, workers, folder) for workers in (0, 1)]
                ratio = 100 * said[0]["sample_ms"] / said[0]["step_ms"]
                print(
                    f"{preset:<10}{augment:<14}{said[0]['sample_ms']:14.1f}{said[0]['step_ms']:12.1f}{ratio:9.1f}"
                    f"{100 * said[0]['waiting']:13.1f}{100 * said[1]['waiting']:6.1f}",
                    flush=True,
                )


def _in_process(preset: str, augment: str, workers: int, folder: str) -> dict[str, float]:
    line = [sys.executable, __file__, preset, augment, str(workers), folder]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print(json.dumps(one_run(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main()
