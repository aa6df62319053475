"""Names that stand for identifiers: stable, keyed by an environment variable, and no way back."""

from __future__ import annotations

import hashlib
import os
import re

KEY_VARIABLE = "LUNGCT_PSEUDONYM_KEY"
_UID = re.compile(r"\d+(\.\d+){4,}")


def pseudonym(kind: str, identifier: str | bytes) -> str:
    """``<kind>-<10 hex digits>``: BLAKE2b of the identifier, keyed by LUNGCT_PSEUDONYM_KEY.

    The same identifier and key give the same name, so scans of one patient stay together and a second run agrees with
    the first. Without a key anybody can try identifiers until one fits; set one before sharing what is written.
    """
    key = os.environ.get(KEY_VARIABLE, "").encode()
    if len(key) > hashlib.blake2b.MAX_KEY_SIZE:
        key = hashlib.blake2b(key).digest()
    data = identifier.encode() if isinstance(identifier, str) else identifier
    digest = hashlib.blake2b(data, digest_size=5, key=key, person=kind.encode()[:16])
    return f"{kind}-{digest.hexdigest()}"


def keyed() -> bool:
    """Whether the user has set a key."""
    return bool(os.environ.get(KEY_VARIABLE))


def holds_uid(name: str) -> bool:
    """Whether a file name has a DICOM UID in it."""
    return _UID.search(name) is not None


def without_uid(kind: str, name: str) -> str:
    """The name itself, or a pseudonym of it where a DICOM UID is in it."""
    return pseudonym(kind, name) if holds_uid(name) else name
