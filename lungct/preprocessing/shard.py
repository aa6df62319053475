"""Which share of a source's cases one run works on, so that many machines divide the work and a merge puts it together.

Cases are shared out by a stable hash of their *patient*: all scans of a patient lie in one shard, and which one depends
on nothing but the patient's name and the number of shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar


class OfPatient(Protocol):
    """A scan, a slice image or a record of one."""

    @property
    def patient_id(self) -> str:
        """What cases are shared out by."""


Case = TypeVar("Case", bound=OfPatient)


@dataclass(frozen=True)
class Shard:
    """The ``index``-th of ``count`` shares, 0 <= index < count; 0 of 1 is the whole."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"{self} is no share, expected 0 <= index < count")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to other shards."""
        return self.count == 1

    def holds(self, patient_id: str) -> bool:
        """Whether a patient's cases are of this shard."""
        digest = hashlib.blake2b(patient_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def part(self, cases: Iterable[Case]) -> list[Case]:
        """The cases of this shard, in the order given."""
        return [case for case in cases if self.holds(case.patient_id)]

    def facts(self, cases: Sequence[str], said: object, kept: Iterable[str]) -> dict[str, Any] | None:
        """What a merge asks of this shard, for the head of its manifest; None for the whole.

        Args:
            cases: name of every case of the source, in the order of a whole run.
            said: all that the source says of its cases; shards agree in it, or they are not of one source.
            kept: name of each case that has a record in the manifest, in its order.
        """
        if self.is_whole:
            return None
        place = {name: number for number, name in enumerate(cases)}
        return {
            "index": self.index,
            "count": self.count,
            "source_blake2b": hashlib.blake2b(repr((list(cases), said)).encode(), digest_size=16).hexdigest(),
            "cases": len(cases),
            "places": [place[name] for name in kept],
        }


WHOLE = Shard()
