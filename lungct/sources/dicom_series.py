"""A folder tree of DICOM files: one scan per SeriesInstanceUID, or per volume where several share one.

Files that are no CT slices (other modalities, localizers, reports, colour) are left out and counted. Series without a
UID are told apart by their folder and named by their content.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from lungct.io.dicom import SliceHeader, is_dicom, read_headers
from lungct.io.dicom_split import split_volumes
from lungct.io.dicom_voxels import read_series
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
        OSError: a file or folder that must not be read.
    """
    scans = [scan for series in series_below(path) for scan in _scans_of(series, options)]
    return Contents(NAME, tuple(sorted(scans, key=lambda scan: scan.case_id)))


def series_below(path: Path) -> list[list[SliceHeader]]:
    """The CT slices below a folder by series; files left out are counted in the log."""
    headers, skipped = read_headers(path)
    for reason, count in sorted(skipped.items()):
        logger.warning("%s: %d files left out: %s", path, count, reason)
    series: dict[tuple[str, str], list[SliceHeader]] = defaultdict(list)
    for header in headers:
        key = (header.series_uid, "") if header.series_uid else ("", str(header.path.parent))
        series[key].append(header)
    return list(series.values())


def patient_of(slices: Sequence[SliceHeader], case_id: str, naming: Naming) -> str:
    """The patient's name in our outputs; a series without one is a patient of its own."""
    patient = slices[0].patient_id
    return naming.published("patient", patient) if patient else case_id


def case_of(slices: Sequence[SliceHeader], naming: Naming, mark: str = "") -> str:
    """The name of a series in our outputs, or of the volume in it that ``mark`` tells from others."""
    uid = slices[0].series_uid
    return naming.name("case", "/".join(filter(None, (uid, mark))) if uid else _content(slices))


def _scans_of(series: Sequence[SliceHeader], options: SourceOptions) -> Iterator[Scan]:
    volumes = split_volumes(series)
    for mark, slices in volumes:
        case_id = case_of(slices, options.naming, mark)
        if mark:
            logger.info("%s: one of %d volumes under one series UID", case_id, len(volumes))
        yield Scan(
            case_id=case_id,
            patient_id=patient_of(slices, case_id, options.naming),
            load=partial(read_series, slices, case_id, fill_gaps=options.fill_gaps),
            source=NAME,
            truth_known=False,
        )


def _content(slices: Sequence[SliceHeader]) -> bytes:
    """A digest of the files' bytes that does not depend on their names or order."""
    digests = sorted(hashlib.sha256(header.path.read_bytes()).digest() for header in slices)
    return hashlib.sha256(b"".join(digests)).digest()
