"""What a detector says at fixed places of its pyramid: proposals of the RoI head, or anchors of a dense head.

Nothing is thrown away there by thresholds or non-maximum suppression, and only the places asked for are computed. Both
are differentiable in the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from lungct.explain.goals import BOX_GOALS, box_number
from lungct.explain.network import Network
from lungct.types import BoolArray, IntArray


class Places(Protocol):
    """Where D detections come from."""

    def values(self, features: Mapping[str, Tensor], goal: str) -> Tensor:
        """(B, D) float32 score, logit or box number of the places on B pyramids; a level of one map serves all B."""

    def only(self, which: IntArray) -> Places:
        """The same of some of the detections."""

    @property
    def levels(self) -> IntArray:
        """(D,) the level that each is read from."""

    def cells(
        self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False, further: int = 0
    ) -> BoolArray:
        """(h, w) cells of a level that the values of one detection depend on, and ``further`` ones around those.

        ``near`` leaves out what is felt only through a norm over the whole level.
        """


@dataclass(frozen=True, eq=False)
class RoiPlaces:
    """Faster R-CNN: what the box head says of each detection's proposal.

    Attributes:
        proposals: (D, 4) in the detector's own pixels.
        classes: (D,) columns of the class scores.
        levels: (D,) level that RoIAlign reads each proposal from.
    """

    network: Network
    proposals: Tensor
    classes: Tensor
    levels: IntArray

    def values(self, features: Mapping[str, Tensor], goal: str) -> Tensor:
        """See :class:`Places`."""
        if not len(self.levels):
            return nothing(features)
        heads = self.network.detector.roi_heads
        pooled = self._pooled(list(features.values()))
        count, here = len(pooled), torch.arange(len(self.classes), device=pooled.device)
        logits, deltas = heads.box_predictor(heads.box_head(pooled.flatten(0, 1)))
        if goal in BOX_GOALS:
            boxes = heads.box_coder.decode(deltas.float(), [self.proposals] * count)
            return box_number(boxes.unflatten(0, (count, -1))[:, here, self.classes], goal)
        logits = logits.float().unflatten(0, (count, -1))
        found: Tensor = (logits if goal == "logit" else logits.softmax(-1))[:, here, self.classes]
        return found

    def only(self, which: IntArray) -> RoiPlaces:
        """See :class:`Places`."""
        return RoiPlaces(self.network, self.proposals[which], self.classes[which], self.levels[which])

    def cells(
        self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False, further: int = 0
    ) -> BoolArray:
        """See :class:`Places`: RoIAlign's samples lie inside the proposal and read the four cells around them."""
        seen = np.zeros(shape_hw, dtype=bool)
        if self.levels[number] != level:
            return seen
        x1, y1, x2, y2 = (self.proposals[number] * self.network.detector.roi_heads.box_roi_pool.scales[level]).tolist()
        span = []
        for low, high, size in ((y1, max(y2, y1 + 1), shape_hw[0]), (x1, max(x2, x1 + 1), shape_hw[1])):
            first, last = (min(max(math.floor(edge), 0), size - 1) for edge in (low, high))
            span.append(slice(max(first - further, 0), last + 2 + further))
        seen[span[0], span[1]] = True
        return seen

    def _pooled(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, D, C, 7, 7) as torchvision's pooling, which would copy a level that all B share B times."""
        pool = self.network.detector.roi_heads.box_roi_pool
        count = max(len(one) for one in maps)
        parts: list[Tensor] = [maps[0].new_empty(0)] * len(self.levels)
        for level in np.unique(self.levels):
            mine, features = np.flatnonzero(self.levels == level), maps[level]
            pooled = roi_align(
                features,
                [self.proposals[mine]] * len(features),
                output_size=pool.output_size,
                spatial_scale=pool.scales[level],
                sampling_ratio=pool.sampling_ratio,
            )
            pooled = pooled.unflatten(0, (len(features), -1)).expand(count, *[-1] * 4)
            for place, one in zip(mine.tolist(), pooled.unbind(1), strict=True):
                parts[place] = one
        return torch.stack(parts, dim=1)


@dataclass(frozen=True, eq=False)
class DensePlaces:
    """RetinaNet and FCOS: what the dense head says at the place that each detection was decoded from.

    Attributes:
        levels, places: (D,) level and place in it, counted over rows, columns and anchors of a cell.
        anchors: (D, 4) in the detector's own pixels.
        classes: (D,) columns of the class scores.
    """

    network: Network
    levels: IntArray
    places: IntArray
    anchors: Tensor
    classes: Tensor

    def values(self, features: Mapping[str, Tensor], goal: str) -> Tensor:
        """See :class:`Places`."""
        if not len(self.levels):
            return nothing(features)
        maps = list(features.values())
        count = max(len(one) for one in maps)
        columns: list[Tensor] = [maps[0].new_empty(0)] * len(self.levels)
        for level in np.unique(self.levels):
            for numbers, window, places in self._windows(maps[level], np.flatnonzero(self.levels == level)):
                found = self._read(window, numbers, places, goal).expand(count, -1)
                for number, column in zip(numbers, found.unbind(1), strict=True):
                    columns[number] = column
        return torch.stack(columns, dim=1)

    def only(self, which: IntArray) -> DensePlaces:
        """See :class:`Places`."""
        return DensePlaces(
            self.network, self.levels[which], self.places[which], self.anchors[which], self.classes[which]
        )

    def cells(
        self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False, further: int = 0
    ) -> BoolArray:
        """See :class:`Places`: the cells that the head's convolutions reach, or all where a norm looks at all."""
        head, seen = self.network.detector.head, np.zeros(shape_hw, dtype=bool)
        if self.levels[number] != level:
            return seen
        if reach_of(head) is None and not near:
            return ~seen
        anchors = self.network.detector.anchor_generator.num_anchors_per_location()[0]
        row, column = divmod(int(self.places[number]) // anchors, shape_hw[1])
        reach = convolved(head) + further
        seen[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1] = True
        return seen

    def _read(self, window: Tensor, numbers: Sequence[int], places: Sequence[int], goal: str) -> Tensor:
        """(B, n) of detections ``numbers`` whose places are ``places`` within a window of their level."""
        head = self.network.detector.head
        if goal in BOX_GOALS:
            codes = head.regression_head([window])
            codes = (codes[0] if isinstance(codes, tuple) else codes)[:, places].float()
            anchors = self.anchors[numbers].expand(len(codes), -1, -1).flatten(0, 1)
            coder = self.network.detector.box_coder
            decode = coder.decode_single if hasattr(coder, "decode_single") else coder.decode
            return box_number(decode(codes.flatten(0, 1), anchors).unflatten(0, (len(codes), -1)), goal)
        logit: Tensor = head.classification_head([window])[:, places, self.classes[numbers]].float()
        if goal == "logit":
            return logit
        if not hasattr(head.regression_head, "bbox_ctrness"):
            return logit.sigmoid()
        centerness = head.regression_head([window])[1][:, places, 0].float()
        score: Tensor = (logit.sigmoid() * centerness.sigmoid()).sqrt()
        return score

    def _windows(self, features: Tensor, mine: IntArray) -> Iterator[tuple[list[int], Tensor, list[int]]]:
        """Detections, the part of the level that their places can see, and the places in it.

        Exact: what the border of a window spoils comes one cell nearer with every layer and ends before the place. All
        of the level serves where norms look at all of it, or where the windows together are larger.
        """
        rows, columns = features.shape[-2:]
        reach = reach_of(self.network.detector.head)
        if reach is None or len(mine) * (2 * reach + 1) ** 2 >= rows * columns:
            yield mine.tolist(), features, self.places[mine].tolist()
            return
        anchors = self.network.detector.anchor_generator.num_anchors_per_location()[0]
        for number in mine.tolist():
            cell, anchor = divmod(int(self.places[number]), anchors)
            row, column = divmod(cell, columns)
            top, left = max(row - reach, 0), max(column - reach, 0)
            window = features[:, :, top : row + reach + 1, left : column + reach + 1]
            yield [number], window, [((row - top) * window.shape[-1] + column - left) * anchors + anchor]


def nothing(features: Mapping[str, Tensor]) -> Tensor:
    """(B, 0) the values of no place."""
    maps = list(features.values())
    return maps[0].new_empty(max(len(one) for one in maps), 0, dtype=torch.float32)


def reach_of(head: Any) -> int | None:
    """How many cells around its own a dense head's answer depends on; None where a norm makes it depend on all."""
    wide = (nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
    return None if any(isinstance(one, wide) for one in head.modules()) else convolved(head)


def convolved(head: Any) -> int:
    """How many cells around its own the convolutions of a dense head reach."""
    branches = (head.classification_head.modules(), head.regression_head.modules())
    return max(sum(one.kernel_size[0] // 2 for one in branch if isinstance(one, nn.Conv2d)) for branch in branches)
