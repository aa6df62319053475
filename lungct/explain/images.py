"""Which images of a split are explained: named ones, a few of every patient, the share of one shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lungct.errors import UsageError
from lungct.io.coco import CocoImage, CocoTruth
from lungct.preprocessing.shard import WHOLE, Shard


def chosen(
    truth: CocoTruth, image_ids: Sequence[str] = (), max_images: int | None = None, shard: Shard = WHOLE
) -> CocoTruth:
    """The truth of the images that are wanted; a shard's are those of its patients among them.

    Raises:
        UsageError: an image id that is not there.
    """
    images = list(truth.images)
    if image_ids:
        known = {str(image.id): image for image in images}
        missing = [one for one in image_ids if one not in known]
        if missing:
            raise UsageError(f"--image-id {missing[0]}: no such image in the slices")
        images = [known[one] for one in dict.fromkeys(image_ids)]
    if max_images is not None:
        images = spread_over_patients(images, max_images)
    images = shard.part(images)
    kept = {image.id for image in images}
    annotations = [one for one in truth.annotations if one.image_id in kept]
    return dataclasses.replace(truth, images=images, annotations=annotations)


def spread_over_patients(images: Sequence[CocoImage], count: int) -> list[CocoImage]:
    """At most ``count`` images in their old order: in turn one of every patient, evenly spaced among each one's own."""
    of_patient: dict[str, list[CocoImage]] = {}
    for image in images:
        of_patient.setdefault(image.patient_id, []).append(image)
    shares = dict.fromkeys(of_patient, 0)
    for _ in range(min(count, len(images))):
        open_to_more = [patient for patient, share in shares.items() if share < len(of_patient[patient])]
        shares[min(open_to_more, key=lambda patient: shares[patient])] += 1
    kept = {
        of_patient[patient][(2 * number + 1) * len(of_patient[patient]) // (2 * share)].id
        for patient, share in shares.items()
        for number in range(share)
    }
    return [image for image in images if image.id in kept]
