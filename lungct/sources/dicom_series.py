"""A folder tree of DICOM files: one scan per SeriesInstanceUID, named by a pseudonym.

Files that are no CT slices (other modalities, localizers, reports, colour) are left out and counted. Series without a
UID are told apart by their folder and named by their content.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from lungct.io.dicom import SliceHeader, is_dicom, read_headers, read_series
from lungct.sources.pseudonym import Naming
from lungct.sources.source import Contents, SourceOptions
from lungct.types import Scan

logger = logging.getLogger("lungct")
NAME = "dicom"
LOOK_AT = 200


def recognises(path: Path) -> bool:
    """Whether one of the first files below a folder is DICOM."""
    return path.is_dir() and any(is_dicom(one) for one in islice(path.rglob("*"), LOOK_AT) if one.is_file())


def read(path: Path, options: SourceOptions) -> Contents:
    """Every CT series below ``path``; what a series lacks is found out when it is loaded.

    Raises:
        InputError: none; a folder without a series gives empty contents.
    """
    headers, skipped = read_headers(path)
    for reason, count in sorted(skipped.items()):
        logger.warning("%s: %d files left out: %s", path, count, reason)
    series: dict[tuple[str, str], list[SliceHeader]] = defaultdict(list)
    for header in headers:
        key = (header.series_uid, "") if header.series_uid else ("", str(header.path.parent))
        series[key].append(header)
    scans = sorted((_scan_of(slices, options.naming) for slices in series.values()), key=lambda scan: scan.case_id)
    return Contents(NAME, tuple(scans))


def _scan_of(slices: Sequence[SliceHeader], naming: Naming) -> Scan:
    uid, patient = slices[0].series_uid, slices[0].patient_id
    case_id = naming.name("case", uid or _content(slices))
    return Scan(
        case_id=case_id,
        patient_id=naming.name("patient", patient) if patient else case_id,
        load=partial(read_series, tuple(slices), case_id),
        source=NAME,
        truth_known=False,
    )


def _content(slices: Sequence[SliceHeader]) -> bytes:
    """A digest of the files' bytes that does not depend on their names or order."""
    digests = sorted(hashlib.sha256(header.path.read_bytes()).digest() for header in slices)
    return hashlib.sha256(b"".join(digests)).digest()
