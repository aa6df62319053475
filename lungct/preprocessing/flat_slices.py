"""A preprocessed 2D source -> slice files of as many equal channels as the context asks for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungct.io.coco import CocoImage
from lungct.io.npz import read_slice, write_slice
from lungct.preprocessing.cases import Ledger, Record
from lungct.preprocessing.input_key import file_key


@dataclass(frozen=True)
class FlatWork:
    """Writes one image; a slice without neighbours repeats itself, as the first slice of a scan does."""

    ledger: Ledger
    root: Path
    context: int
    resume: bool

    def __call__(self, image: CocoImage) -> Record:
        name = Path(image.file_name).stem
        key = file_key(self.root / image.file_name)
        found = self.ledger.finished(name, key) if self.resume else None
        if found is not None:
            return found
        hu = read_slice(self.root / image.file_name)
        middle = hu[len(hu) // 2]
        write_slice(self.ledger.staging / image.file_name, np.repeat(middle[np.newaxis], self.context, axis=0))
        record: Record = {"name": name, "digest": hashlib.blake2b(middle.tobytes(), digest_size=16).hexdigest()}
        self.ledger.store(name, key, record, [image.file_name])
        return record
