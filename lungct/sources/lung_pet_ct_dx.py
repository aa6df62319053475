"""Lung-PET-CT-Dx: a tree of DICOM files, and PASCAL-VOC XML files of tumour boxes that are named by SOPInstanceUID.

The label of a box is the tumour's subtype: A adenocarcinoma, B small cell, E large cell, G squamous cell carcinoma. PET
and the fused colour frames of the same tree are no CT slices and are left out, as are CT slices without XML, which
nobody said to be healthy, and XML without a CT slice; each is counted.

The records are single slices, not volumes: the boxes were drawn slice by slice and nothing says which of them are of
one tumour, so a box around several would be looser than what was drawn, and series are annotated in part.

Source: Li, Wang, Li et al., A Large-Scale CT and PET/CT Dataset for Lung Cancer Diagnosis, The Cancer Imaging Archive,
2020, https://doi.org/10.7937/TCIA.2020.NNC2-0461.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from functools import partial
from pathlib import Path

from lungct.io.dicom import SliceHeader
from lungct.io.dicom_voxels import read_slice
from lungct.io.voc import VocNote, read_voc
from lungct.sources.dicom_series import series_below
from lungct.sources.pseudonym import Naming, holds_uid
from lungct.sources.source import Contents, SourceOptions
from lungct.sources.xml_files import first_xml_files, root_of, xml_files
from lungct.types import SliceImage

logger = logging.getLogger("lungct")
NAME = "lung-pet-ct-dx"
SUBTYPES = "ABEG"
_PATIENT_FOLDER = re.compile(rf"[{SUBTYPES}]\d{{4}}")


def recognises(path: Path) -> bool:
    """Whether the first XML files below a folder are VOC annotations named by a UID, not beside ``images/``."""
    if not path.is_dir() or (path / "images").is_dir():
        return False
    return any(holds_uid(one.stem) and root_of(one) == "annotation" for one in first_xml_files(path))


def read(path: Path, options: SourceOptions) -> Contents:
    """Every CT slice that has boxes.

    Raises:
        InputError: an XML file that is broken or whose box has no area.
    """
    slices = {one.sop_uid: one for series in series_below(path) for one in series}
    without = Counter[str]()
    images = []
    for file in xml_files(path):
        header = slices.pop(file.stem, None)
        if header is None:
            without["XML files without a CT slice"] += 1
            continue
        note = read_voc(file, options.voc_corners)
        labels = [label.upper() for label in note.labels]
        kept = [number for number, label in enumerate(labels) if label in SUBTYPES]
        without["boxes of an unknown subtype"] += len(labels) - len(kept)
        if note.size_xy not in (None, header.size_xy):
            without["XML files of another image size"] += 1
        elif kept:
            images.append(_image_of(header, file, note, kept, options.naming))
    without["CT slices without XML"] = len(slices)
    for what, count in without.items():
        if count:
            logger.warning("%s: %d %s left out", path, count, what)
    return Contents(NAME, images=tuple(sorted(images, key=lambda image: image.image_id)))


def _image_of(header: SliceHeader, file: Path, note: VocNote, kept: list[int], naming: Naming) -> SliceImage:
    image_id = naming.name("image", header.sop_uid)
    case_id = naming.name("case", header.series_uid or header.sop_uid)
    folder = file.parent.name
    patient = header.patient_id or (f"Lung_Dx-{folder}" if _PATIENT_FOLDER.fullmatch(folder) else "")
    return SliceImage(
        image_id=image_id,
        patient_id=naming.published("patient", patient) if patient else case_id,
        case_id=case_id,
        load=partial(read_slice, header, image_id),
        spacing_mm_xy=header.spacing_mm_xy,
        boxes_xyxy_px=note.boxes_xyxy_px[kept],
        labels=tuple(note.labels[number].upper() for number in kept),
    )
