"""Names that stand for identifiers: stable, keyed by a secret of the user's, and no way back."""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lungct.errors import InputError

KEY_VARIABLE = "LUNGCT_PSEUDONYM_KEY"
LONGEST_NAME = 80
_UID = re.compile(r"\d+(\.\d+){4,}")
_PUBLISHED = re.compile(
    r"(DLCS|PHANTOM)_\d{4}(_\d{2})?"  # DLCS24 and our phantoms, scans and nodules
    r"|LIDC-IDRI-\d{4}|Lung_Dx-[ABEG]\d{4}|C3[LN]-\d{5}"  # LIDC-IDRI, Lung-PET-CT-Dx, CPTAC
    # Plain numbering. Four digits and no more, for six may be a birthday or a hospital's number.
    r"|(case|scan|ct|image|img|patient|subject|sub|subset|volume|vol|series|nodule)[_-]?\d{1,4}(_\d{1,3})?",
    re.IGNORECASE | re.ASCII,
)


LARGEST_TOLD = 10_000


@dataclass(frozen=True)
class Naming:
    """How the identifiers of a source become names in our outputs and messages.

    Attributes:
        keep_ids: names are the source's own identifiers, whatever they give away.
        key: secret that the pseudonyms depend on; empty takes LUNGCT_PSEUDONYM_KEY. Where that is not set either,
            anybody can try identifiers until one fits.
    """

    keep_ids: bool = False
    key: bytes = field(default=b"", repr=False)

    def name(self, kind: str, identifier: str | bytes) -> str:
        """``<kind>-<10 hex digits>``, or the identifier itself, safe as a file name, under ``keep_ids``.

        The same identifier and key give the same name, so scans of one patient stay together and a second run agrees
        with the first.
        """
        if self.keep_ids and isinstance(identifier, str):
            return as_file_name(identifier)
        return pseudonym(kind, identifier, self.key or key_from_environment())

    def published(self, kind: str, identifier: str, data_set: str = "") -> str:
        """The identifier itself where a public data set gave it or it is plain numbering; else :meth:`name`.

        ``data_set`` is the pattern of identifiers that only their layout tells from a hospital's, such as NLST's six
        digits.
        """
        public = _PUBLISHED.fullmatch(identifier) or (data_set and re.fullmatch(data_set, identifier, re.ASCII))
        return identifier if public else self.name(kind, identifier)

    def nodules(self, case_id: str, identifiers: Sequence[str]) -> list[str]:
        """Ids of a case's nodules: the source's own where all are published, else ``<case_id>_01`` and so on."""
        if self.keep_ids:
            return [as_file_name(one) for one in identifiers]
        if all(map(_PUBLISHED.fullmatch, identifiers)):
            return list(identifiers)
        return [f"{case_id}_{number:02d}" for number in range(1, len(identifiers) + 1)]

    def attributes(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """The flat scalars of a nodule that may be told on: under ``keep_ids`` all, else numbers below 10,000.

        Nobody knows what stands in other people's texts, and a longer number may be a date or a patient's.
        """
        scalars = {name: one for name, one in said.items() if isinstance(one, (int, float, str))}
        kept = {name: one for name, one in scalars.items() if isinstance(one, str) or math.isfinite(one)}
        if self.keep_ids:
            return kept
        return {name: one for name, one in kept.items() if not isinstance(one, str) and abs(one) < LARGEST_TOLD}

    @classmethod
    def of(cls, keep_ids: bool, key_file: Path | None) -> Naming:
        """As the command line says it: with the key in a file, if one is given.

        Raises:
            InputError: see :func:`read_key`.
        """
        return cls(keep_ids, read_key(key_file) if key_file else b"")

    @property
    def has_key(self) -> bool:
        """Whether there is a secret that the pseudonyms depend on."""
        return bool(self.key or key_from_environment())


def key_from_environment() -> bytes:
    """The secret in LUNGCT_PSEUDONYM_KEY, empty where there is none."""
    return os.environ.get(KEY_VARIABLE, "").encode()


def read_key(path: Path) -> bytes:
    """The secret in a file: all its bytes but white space at either end.

    Raises:
        InputError: no such file, or nothing in it.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as problem:
        raise InputError.of(path, f"key file not readable ({problem.strerror})") from None
    if not key:
        raise InputError.of(path, "key file without a key", "put a long random line in it, and keep it secret")
    return key


def pseudonym(kind: str, identifier: str | bytes, key: bytes = b"") -> str:
    """``<kind>-<10 hex digits>``: BLAKE2b of the identifier under ``key``."""
    if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
        key = hashlib.blake2b(key).digest()
    data = _bytes_of(identifier) if isinstance(identifier, str) else identifier
    digest = hashlib.blake2b(data, digest_size=5, key=key, person=kind.encode()[:16])
    return f"{kind}-{digest.hexdigest()}"


def as_file_name(identifier: str) -> str:
    """The identifier, or where it cannot name a file on every system, its safe letters and six hex digits of it."""
    safe = re.sub(r"[^\w.+-]+", "_", identifier, flags=re.ASCII).lstrip(".+-").rstrip(".")
    if safe == identifier and 0 < len(safe) <= LONGEST_NAME:
        return identifier
    digest = hashlib.blake2b(_bytes_of(identifier), digest_size=3).hexdigest()
    return f"{safe[: LONGEST_NAME - 7] or 'id'}-{digest}"


def holds_uid(name: str) -> bool:
    """Whether a file name has a DICOM UID in it."""
    return _UID.search(name) is not None


def same_spelling(name: str) -> str:
    """A name in one of the two ways to write letters with marks, which file systems choose between."""
    return unicodedata.normalize("NFC", name)


def _bytes_of(identifier: str) -> bytes:
    return same_spelling(identifier).encode(errors="surrogateescape")
