"""What random 2.5D training samples cost through the DataLoader, beside volumes kept as compressed NPZ: run it.

The scan is a phantom of 512 x 512 x 300. One way reads the slice files of ``lungct select-slices``; the other loads the
scan's compressed NPZ for every sample and takes the slice and its neighbours out. Both then give training the same
tensors. Imports are not counted; no slice is read twice, so nothing comes from a cache of ours.
"""
# ruff: noqa: T201

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import measured
import numpy as np

SAMPLES = 12
OURS, VOLUMES = "slice files", "compressed NPZ of volumes"
READING = "slice files, reading only", "compressed NPZ, reading only"


def write_data(folder: Path) -> None:
    """One scan as a DLCS24 folder, its slices by our commands' library calls, and the same voxels as one NPZ."""
    from lungct.ct.geometry import to_canonical
    from lungct.io.nifti import read_nifti
    from lungct.phantom.dataset import PhantomOptions, write_phantoms
    from lungct.preprocessing.preprocess import PreprocessOptions, preprocess
    from lungct.preprocessing.scan_slices import SelectOptions
    from lungct.preprocessing.scans import VolumeOptions
    from lungct.preprocessing.select_slices import select_slices

    write_phantoms(folder / "dlcs", PhantomOptions(patients=1, size=512, slices=300))
    preprocess(folder / "dlcs", folder / "out", PreprocessOptions(volume=VolumeOptions(None)))
    select_slices(folder / "out", folder / "slices", SelectOptions(negatives=2 * SAMPLES))
    hu = to_canonical(read_nifti(next(folder.glob("out/scans/*.nii.gz")))).hu
    np.savez_compressed(folder / "volume.npz", hu=hu)


def samples(way: str, folder: Path) -> dict[str, Any]:
    """Draw every sample once, in random order; returns a digest of the tensors."""
    import torch
    from torch.utils.data import DataLoader

    from lungct.data.dataset import TrainingSlices, collate
    from lungct.data.view import ViewOptions
    from lungct.io.coco import CocoImage, read_truth

    class OfVolumes(TrainingSlices):
        """The same samples out of compressed volumes."""

        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._read = self._out_of_volume

        def _out_of_volume(self, image: CocoImage) -> np.ndarray:
            z = image.lungct["z_index"]
            return np.load(folder / "volume.npz")["hu"][z - 1 : z + 2]

    truth = read_truth(folder / "slices" / "train.json")
    view = ViewOptions((-1000, 500), magnify=2.0, crop_px=320)
    data = (TrainingSlices if way == OURS else OfVolumes)(truth, view, seed=0, in_channels=3)
    order = np.random.default_rng(0).permutation(len(data))[:SAMPLES].tolist()
    digest = hashlib.sha256()
    for images, _ in DataLoader(data, batch_size=4, sampler=[(0, index) for index in order], collate_fn=collate):
        for image in images:
            digest.update(torch.as_tensor(image).numpy().tobytes())
    return {"digest": digest.hexdigest()}


def reads(way: str, folder: Path) -> None:
    """Only the reading of as many samples."""
    from lungct.io.npz import read_slice

    paths = sorted(folder.glob("slices/images/*/*.npz"))
    for path in np.random.default_rng(0).permutation(np.array(paths, dtype=object))[:SAMPLES]:
        if way == READING[0]:
            read_slice(path)
        else:
            z = int(path.stem)
            np.load(folder / "volume.npz")["hu"][z - 1 : z + 2]


def one_run(way: str, folder: Path) -> None:
    """The process of one run: import, then measure."""
    import torch

    import lungct.data.dataset
    import lungct.io.npz  # noqa: F401

    torch.set_num_threads(1)
    measured.report_self(lambda: reads(way, folder) if way in READING else samples(way, folder))


def main() -> None:
    """Write the data, measure both ways in turn, print."""
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        figures = measured.in_turn(Path(__file__), [OURS, VOLUMES, *READING], folder)
    assert figures[OURS].said == figures[VOLUMES].said, "the two ways give other tensors"
    print(f"{SAMPLES} samples of 3 x 512 x 512, random, through the DataLoader")
    print(measured.table(figures, OURS))
    for ours, theirs in ((OURS, VOLUMES), READING):
        print(f"{ours}: {figures[theirs].median_s / figures[ours].median_s:.0f} times cheaper")


if __name__ == "__main__":
    one_run(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main()
