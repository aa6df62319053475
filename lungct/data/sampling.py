"""In which order slices are seen: batches that depend on the slices, the options, the seed and the epoch alone.

So a resumed run needs no state of it: the batches of an epoch are what they would have been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from lungct.data.streams import ANYWHERE, Cycled, Eligible, Stream, turns

_OTHER_STREAMS = 2**31
"""Keeps the seeds of streams apart from those of slices."""


class Draw(NamedTuple):
    """One slice to be seen.

    Attributes:
        image: number of the slice in its split.
        turn: how often it was drawn before in this epoch; another turn is another view.
        spot: number of the place of the split that its crop goes round, -1 for none.
    """

    epoch: int
    image: int
    turn: int = 0
    spot: int = ANYWHERE


class EpochBatches(Sampler[list[Draw]]):
    """The batches of the epoch that ``epoch`` is set to; all of one size.

    A filled last batch keeps the statistics of batch norm and the step count per epoch even.

    Args:
        streams: at least one.
        batch: slices of a batch.
        count: batches of an epoch.
    """

    def __init__(self, streams: Sequence[Stream], batch: int, seed: int, count: int) -> None:
        self.streams, self.batch, self.seed, self.count = streams, batch, seed, count
        self.epoch = 0

    @classmethod
    def shuffled(cls, slices: int, batch: int, seed: int) -> EpochBatches:
        """Every slice once an epoch; the last batch is filled with slices of another permutation."""
        return cls([Cycled(1.0, range(slices))], batch, seed, -(-slices // batch))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[Draw]]:
        order = turns([stream.share for stream in self.streams], self.count * self.batch)
        index, spot = np.empty_like(order), np.empty_like(order)
        for number, stream in enumerate(self.streams):
            mine = order == number
            index[mine], spot[mine] = stream.draw(self._random(number), self.epoch, int(mine.sum()))
        seen: Counter[int] = Counter()
        draws = []
        for one, place in zip(index.tolist(), spot.tolist(), strict=True):
            draws.append(Draw(self.epoch, one, seen[one], place))
            seen[one] += 1
        for start in range(0, len(draws), self.batch):
            yield draws[start : start + self.batch]

    def _random(self, stream: int) -> np.random.Generator:
        more = (_OTHER_STREAMS + stream,) if stream else ()
        return np.random.default_rng((self.seed, self.epoch, *more))

    def facts(self, epoch: int) -> dict[str, float]:
        """For the metrics: ``eligible``, the share of slices with nodules that a curriculum lets in; else nothing."""
        graded = [one for one in self.streams if isinstance(one, Eligible) and one.difficulty.any()]
        if not graded:
            return {}
        let_in = sum(len(one.eligible(epoch)) for one in graded)
        return {"eligible": round(let_in / sum(len(one.indices) for one in graded), 6)}
