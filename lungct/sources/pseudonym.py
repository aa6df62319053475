"""Names that stand for identifiers: stable, keyed by a secret of the user's, and no way back."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

KEY_VARIABLE = "LUNGCT_PSEUDONYM_KEY"
_UID = re.compile(r"\d+(\.\d+){4,}")
_PUBLISHED = re.compile(
    r"(DLCS|PHANTOM)_\d{4}(_\d{2})?"  # DLCS24 and our phantoms, scans and nodules
    r"|LIDC-IDRI-\d{4}|Lung_Dx-[ABEG]\d{4}|C3[LN]-\d{5}"  # LIDC-IDRI, Lung-PET-CT-Dx, CPTAC
    r"|\d{6}(_\d{2}){0,2}"  # NLST participants and DeepLesion patients, studies, series
    r"|(case|scan|ct|image|img|patient|subject|sub|volume|vol|series|nodule)[_-]?\d{1,4}(_\d{1,4})?",  # plain numbering
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Naming:
    """How the identifiers of a source become names in our outputs.

    Attributes:
        keep_ids: names are the source's own identifiers, whatever they give away.
        key: secret that the pseudonyms depend on; empty takes LUNGCT_PSEUDONYM_KEY. Where that is not set either,
            anybody can try identifiers until one fits.
    """

    keep_ids: bool = False
    key: bytes = b""

    def name(self, kind: str, identifier: str | bytes) -> str:
        """``<kind>-<10 hex digits>``, or the identifier itself, safe as a file name, under ``keep_ids``.

        The same identifier and key give the same name, so scans of one patient stay together and a second run agrees
        with the first.
        """
        if self.keep_ids and isinstance(identifier, str):
            return as_file_name(identifier)
        return pseudonym(kind, identifier, self.key or key_from_environment())

    def published(self, kind: str, identifier: str) -> str:
        """The identifier itself where a public data set gave it or it is a running number; else :meth:`name`."""
        return identifier if _PUBLISHED.fullmatch(identifier) else self.name(kind, identifier)


def key_from_environment() -> bytes:
    """The secret in LUNGCT_PSEUDONYM_KEY, empty where there is none."""
    return os.environ.get(KEY_VARIABLE, "").encode()


def pseudonym(kind: str, identifier: str | bytes, key: bytes = b"") -> str:
    """``<kind>-<10 hex digits>``: BLAKE2b of the identifier under ``key``."""
    if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
        key = hashlib.blake2b(key).digest()
    data = identifier.encode() if isinstance(identifier, str) else identifier
    digest = hashlib.blake2b(data, digest_size=5, key=key, person=kind.encode()[:16])
    return f"{kind}-{digest.hexdigest()}"


def as_file_name(identifier: str) -> str:
    """The identifier, or where it cannot name a file on every system, its safe letters and six hex digits of it."""
    safe = re.sub(r"[^\w.+-]+", "_", identifier, flags=re.ASCII).lstrip(".")
    if safe == identifier and safe:
        return identifier
    return f"{safe or 'id'}-{hashlib.blake2b(identifier.encode(), digest_size=3).hexdigest()}"


def holds_uid(name: str) -> bool:
    """Whether a file name has a DICOM UID in it."""
    return _UID.search(name) is not None
