"""What was selected, as COCO and as manifest records: ids count from 1 over all splits, in the order of the cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lungct.io.coco import CocoAnnotation, CocoImage, CocoTruth
from lungct.preprocessing.cases import Record
from lungct.preprocessing.scan_slices import SELECTION_SCHEMA
from lungct.registry import SPLITS
from lungct.types import Nodule, Scan


@dataclass
class Selected:
    """Images and boxes of all splits, and the manifest's records, gathered case by case.

    Attributes:
        categories: COCO id -> name.
        split_of: patient -> split.
    """

    categories: Mapping[int, str]
    split_of: Mapping[str, str]
    images: list[CocoImage] = field(default_factory=list)
    annotations: list[CocoAnnotation] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def add_scan(self, scan: Scan, record: Record, hu_clip: tuple[int, int]) -> None:
        """A scan and what its selection noted."""
        rows = _images(scan, record, hu_clip, first_id=len(self.images) + 1)
        self.images += rows
        numbers = {name: number for number, name in self.categories.items()}
        self.annotations += _annotations(scan, record, rows, numbers, first_id=len(self.annotations) + 1)
        more = {
            "boxes": len(record["boxes"]),
            "negatives": record["negatives"],
            "hard_negatives": record["hard_negatives"],
            "nodules_missed": record["missed"],
            "nodules_cut": record["cut"],
            "grid": record["volume_grid"],
            "source_grid": record["source_grid"],
        }
        names = [image["file_name"] for image in record["images"]]
        self.records.append(self._record(scan.case_id, scan.patient_id, record, {"images": names, **more}))

    def add_image(self, image: CocoImage, record: Record, boxes: Sequence[CocoAnnotation]) -> None:
        """A 2D image with its boxes."""
        number = len(self.images) + 1
        self.images.append(replace(image, id=number))
        self.annotations += [
            replace(box, id=identifier, image_id=number)
            for identifier, box in enumerate(boxes, len(self.annotations) + 1)
        ]
        facts = {"images": [image.file_name], "boxes": len(boxes)}
        self.records.append(self._record(image.case_id, image.patient_id, record, facts))

    def _record(self, case_id: str, patient_id: str, record: Record, facts: Mapping[str, Any]) -> Record:
        return {
            "schema": SELECTION_SCHEMA,
            "case_id": case_id,
            "patient_id": patient_id,
            "split": self.split_of[patient_id],
            "voxels_blake2b": record["digest"],
            **facts,
        }

    def by_split(self) -> dict[str, CocoTruth]:
        """The COCO truth of each split; ids stay unique over them."""
        found = {}
        for name in SPLITS:
            mine = [
                replace(image, lungct={**image.lungct, "split": name})
                for image in self.images
                if self.split_of[image.patient_id] == name
            ]
            ids = {image.id for image in mine}
            found[name] = CocoTruth(self.categories, mine, [one for one in self.annotations if one.image_id in ids])
        return found


def _images(scan: Scan, record: Record, hu_clip: tuple[int, int], first_id: int) -> list[CocoImage]:
    width, height = record["size_xy"]
    return [
        CocoImage(
            number,
            image["file_name"],
            width,
            height,
            {
                "case_id": scan.case_id,
                "patient_id": scan.patient_id,
                **scan.attributes,
                "z_index": image["z_index"],
                "z_mm": image["z_mm"],
                **record["grid"],
                "hu_clip": list(hu_clip),
            },
        )
        for number, image in enumerate(record["images"], first_id)
    ]


def _annotations(
    scan: Scan, record: Record, rows: Sequence[CocoImage], categories: Mapping[str, int], first_id: int
) -> list[CocoAnnotation]:
    image_ids = {row.file_name: row.id for row in rows}
    nodules = {nodule.nodule_id: nodule for nodule in scan.nodules}
    found = []
    for number, box in enumerate(record["boxes"], first_id):
        nodule = nodules[box["nodule_id"]]
        x1, y1, x2, y2 = box["box_xyxy_px"]
        category = categories.get(nodule.label, 1)
        image_id = image_ids[box["file_name"]]
        found.append(CocoAnnotation(number, image_id, category, (x1, y1, x2, y2), attributes=_attributes(nodule)))
    return found


def _attributes(nodule: Nodule) -> dict[str, Any]:
    known = {
        "nodule_id": nodule.nodule_id,
        "diameter_mm": round(nodule.diameter_mm, 4),
        "malignant": nodule.malignant,
        "malignancy": nodule.malignancy,
        **nodule.attributes,
    }
    return {key: value for key, value in known.items() if value is not None}
