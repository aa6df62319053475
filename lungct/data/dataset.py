"""A split of slices as tensors for training: each item depends on the seed and its key alone, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lungct.data.look import draw_look
from lungct.data.mosaic import Part, mosaic
from lungct.data.paste import Paster
from lungct.data.reader import SliceReader
from lungct.data.sampling import Draw
from lungct.data.streams import ANYWHERE
from lungct.data.view import ViewOptions, draw_view, show_boxes, show_image
from lungct.errors import InputError
from lungct.io.coco import CocoTruth
from lungct.types import FloatArray

Sample = tuple[Tensor, dict[str, Tensor]]


class TrainingSlices(Dataset[Sample]):
    """Random views of the slices of a split.

    Item ``(epoch, image, turn, spot)``, see :class:`lungct.data.sampling.Draw`, is ``(image, target)``: image (C, h, w)
    float32 in 0..1, target as torchvision's detectors want it: ``boxes`` (N, 4) float32 network pixels, ``labels`` (N,)
    int64 in 1..K; (0, 4) and (0,) without a nodule.

    Args:
        spots_xyxy_px: (S, 4) boxes that the spots of draws number, stored pixels.
    """

    def __init__(
        self,
        truth: CocoTruth,
        view: ViewOptions,
        *,
        seed: int,
        in_channels: int,
        spots_xyxy_px: FloatArray | None = None,
        read: SliceReader | None = None,
    ) -> None:
        self.truth, self.view, self.seed, self.in_channels = truth, view, seed, in_channels
        self.spots_xyxy_px = spots_xyxy_px
        self._read = read or SliceReader(truth)
        label_of = {category: label for label, category in enumerate(sorted(truth.categories), 1)}
        self._boxes: list[Tensor] = []
        self._labels: list[Tensor] = []
        for image in truth.images:
            found = [one for one in truth.annotations_of[image.id] if not one.iscrowd and _has_area(one.box_xyxy_px)]
            self._boxes.append(torch.tensor([one.box_xyxy_px for one in found], dtype=torch.float32).reshape(-1, 4))
            self._labels.append(torch.tensor([label_of[one.category_id] for one in found], dtype=torch.int64))
        self._paste = Paster(truth, self._read, self._boxes, self._labels)

    def __len__(self) -> int:
        return len(self.truth.images)

    def __getitem__(self, key: Draw | tuple[int, int]) -> Sample:
        epoch, number, turn, spot = Draw(*key)
        random = np.random.default_rng((self.seed, epoch, number, *((turn,) if turn else ())))
        if random.random() < self.view.augmentation.mosaic_chance:
            image, boxes, labels = self._mosaic(random, number)
        else:
            around = None if spot == ANYWHERE or self.spots_xyxy_px is None else self.spots_xyxy_px[spot]
            image, boxes, labels = self._part(random, number, around)
        return image, {"boxes": boxes, "labels": labels}

    def _part(
        self,
        random: np.random.Generator,
        number: int,
        around_xyxy_px: FloatArray | None = None,
        crop_xy_px: tuple[int, int] | None = None,
    ) -> Part:
        """A random view of one slice."""
        how = self.view.augmentation
        image_hu, boxes, labels = self._stack(number), self._boxes[number], self._labels[number]
        if random.random() < how.paste_chance:
            image_hu, boxes, labels = self._paste(random, number, image_hu, how.paste_most)
        shape_yx = (image_hu.shape[1], image_hu.shape[2])
        view = draw_view(random, shape_yx, boxes, self.view, around_xyxy_px=around_xyxy_px, crop_xy_px=crop_xy_px)
        look = draw_look(random, how)
        return show_image(torch.from_numpy(image_hu), view, self.view.hu_window, look), *show_boxes(boxes, labels, view)

    def _mosaic(self, random: np.random.Generator, number: int) -> Part:
        """Views of a slice and three others, in any order."""
        image, side = self.truth.images[number], self.view.crop_px
        whole = int(image.width * self.view.magnify), int(image.height * self.view.magnify)
        others = random.integers(len(self), size=3).tolist()
        numbers = iter(random.permutation([number, *others]).tolist())
        size_xy = (side, side) if side else whole
        return mosaic(random, size_xy, lambda most: self._part(random, next(numbers), crop_xy_px=most))

    def _stack(self, number: int) -> NDArray[np.int16]:
        """(C, Y, X) HU of a slice of as many channels as the first has."""
        image = self.truth.images[number]
        image_hu = self._read(image)
        if len(image_hu) != self.in_channels:
            path = self.truth.root / image.file_name
            raise InputError.of(path, f"has {len(image_hu)} channels, the first slice has {self.in_channels}")
        return image_hu

    def __getitems__(self, keys: Sequence[Draw | tuple[int, int]]) -> list[Sample] | InputError:
        """A batch; a slice that cannot be read comes back as its error, for a worker process would blur the message."""
        try:
            return [self[key] for key in keys]
        except InputError as problem:
            return problem


def _has_area(box: tuple[float, float, float, float]) -> bool:
    return box[2] > box[0] and box[3] > box[1]


def collate(samples: list[Sample] | InputError) -> tuple[list[Tensor], list[dict[str, Tensor]]] | InputError:
    """Images stay a list, for they may differ in size; an error passes."""
    if isinstance(samples, InputError):
        return samples
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def first_slice(truth: CocoTruth) -> NDArray[Any]:
    """(C, Y, X) int16 HU of the split's first image."""
    return SliceReader(truth)(truth.images[0])
