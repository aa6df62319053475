"""In which order slices are seen: a permutation per epoch that depends on the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of ``(epoch, index)`` keys; the last one is filled up from the start of the permutation.

    A filled batch keeps the statistics of batch norm and the step count per epoch even.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        order = np.resize(order, len(self) * self.batch)
        for start in range(0, len(order), self.batch):
            yield [(self.epoch, int(index)) for index in order[start : start + self.batch]]
