"""A preprocessed 2D source -> slice files of as many equal channels as the context asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import UsageError
from lungct.io.coco import CocoImage, CocoTruth, read_truth
from lungct.io.npz import read_slice
from lungct.preprocessing.cases import Ledger, Outcome, Record, Running, run_cases
from lungct.preprocessing.exclusion import Exclusion
from lungct.preprocessing.images import SLICES
from lungct.preprocessing.input_key import file_key
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.shard import Shard
from lungct.preprocessing.slice_files import write_slice_files
from lungct.preprocessing.slice_truth import Selected
from lungct.preprocessing.split import refuse_duplicates, splits_of


def is_flat(out: Path) -> bool:
    """Whether a folder of ``lungct preprocess`` holds 2D images, not scans."""
    return (out / SLICES).is_file()


def refuse_scan_options(out: Path, flags: Sequence[str]) -> None:
    """Refuse options that choose among the slices of a scan where there are none to choose from.

    Raises:
        UsageError: ``out`` holds 2D images and there are ``flags``, the names of options that were given.
    """
    if flags and is_flat(out):
        problem = f"no bearing on {out}, which holds 2D images that are all kept: {', '.join(flags)}"
        raise UsageError(problem, "leave such options out")


@dataclass(frozen=True, eq=False)
class FlatSource:
    """The 2D images of a folder of ``lungct preprocess``, without those left out, and every patient's split."""

    out: Path
    options: SelectOptions
    truth: CocoTruth
    cases: Sequence[CocoImage]
    split_of: dict[str, str]

    @classmethod
    def read(cls, out: Path, options: SelectOptions) -> FlatSource:
        """Raises InputError: a broken file, a patient in two splits."""
        truth = read_truth(out / SLICES)
        exclusion = Exclusion.read(options.exclude)
        exclusion.check({name for image in truth.images for name in _names(image)}, out)
        gone = [image for image in truth.images if exclusion.has(*_names(image))]
        kept = [image for image in truth.images if not exclusion.has(*_names(image))]
        split_of = splits_of(map(_stated, kept), map(_stated, gone), options.seed, out)
        return cls(out, options, truth, kept, split_of)

    def run(self, ledger: Ledger, running: Running) -> Outcome:
        """Write the images of the run's shard."""
        items = {_names(image)[0]: image for image in running.shard.part(self.cases)}
        return run_cases("images", FlatWork(ledger, self.truth.root, self.options, running.resume), items, running)

    def selected(self, outcome: Outcome) -> Selected:
        """What was written, for COCO; raises InputError for one image in two splits."""
        by_name = {_names(image)[0]: image for image in self.cases}
        kept = [(by_name[record["name"]], record) for record in outcome.records]
        digests = [(one["name"], one["digest"], self.split_of[image.patient_id]) for image, one in kept]
        refuse_duplicates(digests, self.out)
        selected = Selected(self.truth.categories, self.split_of)
        for image, record in kept:
            selected.add_image(image, record, self.truth.annotations_of[image.id])
        return selected

    def shard_facts(self, shard: Shard, outcome: Outcome) -> dict[str, Any] | None:
        """See :meth:`lungct.preprocessing.shard.Shard.facts`."""
        said = [(image, self.truth.annotations_of[image.id]) for image in self.cases]
        kept = [record["name"] for record in outcome.records]
        return shard.facts([_names(image)[0] for image in self.cases], (said, self.truth.categories), kept)


def _names(image: CocoImage) -> tuple[str, str]:
    return Path(image.file_name).stem, image.case_id


def _stated(image: CocoImage) -> tuple[str, str]:
    return image.patient_id, str(image.lungct.get("split", ""))


@dataclass(frozen=True)
class FlatWork:
    """Writes one image; it has no neighbours, so every channel is the image."""

    ledger: Ledger
    root: Path
    options: SelectOptions
    resume: bool

    def __call__(self, image: CocoImage) -> Record:
        name = _names(image)[0]
        key = file_key(self.root / image.file_name)
        found = self.ledger.finished(name, key) if self.resume else None
        if found is not None:
            return found
        hu = read_slice(self.root / image.file_name)
        middle = hu[len(hu) // 2]
        stacked = np.repeat(middle[np.newaxis], self.options.context, axis=0)
        files = write_slice_files(self.ledger.staging, image.file_name, stacked, self.options.png)
        digest = hashlib.blake2b(middle.tobytes(), digest_size=16).hexdigest()
        record: Record = {"name": name, "digest": digest, "files": files}
        self.ledger.store(name, key, record, files)
        return record
