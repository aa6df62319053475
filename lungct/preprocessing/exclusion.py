"""The list of cases, images and slices to leave out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lungct.errors import InputError
from lungct.io.case_lists import read_names, split_slice_name

logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class Exclusion:
    """Names to leave out and the line of the list that each stands in: a case, a 2D image, or ``<case>/<slice>``."""

    path: Path | None = None
    names: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Exclusion:
        """The list of a file; None leaves nothing out.

        Raises:
            InputError: see :func:`lungct.io.case_lists.read_names`.
        """
        return cls() if path is None else cls(path, read_names(path))

    def has(self, *names: str) -> bool:
        """Whether one of a case's names is on the list."""
        return any(name in self.names for name in names)

    @cached_property
    def slices(self) -> Mapping[str, list[int]]:
        """Case -> indices of its slices that are on the list."""
        found: dict[str, list[int]] = defaultdict(list)
        for case, z in filter(None, map(split_slice_name, self.names)):
            found[case].append(z)
        return found

    def check(self, known: Set[str], where: Path) -> None:
        """Warn of names that are none of the cases and images ``known``, for they may be misspelt.

        Raises:
            InputError: none of the names is known.
        """
        if self.path is None or not self.names:
            return
        strange = [line for name, line in self.names.items() if not known & self._possible(name)]
        if len(strange) == len(self.names):
            raise InputError.of(self.path, f"no line of it names a case or an image of {where}")
        if strange:
            logger.warning(
                "%s: %d of %d lines name no case of %s, the first is line %d",
                self.path,
                len(strange),
                len(self.names),
                where,
                strange[0],
            )

    @staticmethod
    def _possible(name: str) -> set[str]:
        found = split_slice_name(name)
        return {name, found[0]} if found else {name}
