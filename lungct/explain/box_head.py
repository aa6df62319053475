"""What Faster R-CNN's box head says of many proposals, some at a time: torchvision's answers in less time and memory.

torchvision pools all proposals into one tensor, of 50 MB for 1,000 of 256 channels, and its RoIAlign goes over the
channels one by one on a CPU. RoIAlign reads a bin as a weighted sum of the cells around its samples, and here that sum
is one of whole cells, with all of their channels beside each other in memory: the same numbers up to rounding.

Source: He 2017, arXiv:1703.06870, with the samples, the clamping at borders and the least side of one cell that
torchvision has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

PART = 256


def answers(
    heads: Any, features: Mapping[str, Tensor], proposals: Sequence[Tensor], images: ImageList
) -> tuple[Tensor, Tensor]:
    """Class logits (N, K) and box deltas (N, 4 K) of all N proposals, those of the first image first; no gradient.

    Args:
        heads: torchvision's RoIHeads.
        features: level -> (B, C, h, w).
        proposals: B times (n, 4) in the detector's own pixels.
    """
    pool = heads.box_roi_pool
    maps = [features[name] for name in pool.featmap_names if name in features]
    if pool.scales is None:  # it learns them in its first call
        pool(features, [one[:1] for one in proposals], images.image_sizes)
    boxes = torch.cat(list(proposals))
    of_image = torch.arange(len(proposals), device=boxes.device)
    of_image = of_image.repeat_interleave(torch.tensor([len(one) for one in proposals], device=boxes.device))
    levels = pool.map_levels(list(proposals)) if len(maps) > 1 else torch.zeros_like(of_image)
    places: list[Tensor] = [torch.arange(0)]
    said = [heads.box_predictor(heads.box_head(maps[0].new_zeros(0, maps[0].shape[1], *pool.output_size)))]
    for level, one in enumerate(maps):
        for number in range(len(proposals)):
            mine = torch.nonzero((levels == level) & (of_image == number)).flatten()
            for part in mine.split(PART) if len(mine) else ():
                pooled = pooled_from(one[number], boxes[part], pool.scales[level], pool)
                said.append(heads.box_predictor(heads.box_head(pooled)))
                places.append(part)
    order = torch.cat([one.to(boxes.device) for one in places]).argsort()
    logits, deltas = (torch.cat(one)[order] for one in zip(*said, strict=True))
    return logits, deltas


def pooled_from(level: Tensor, boxes: Tensor, scale: float, pool: Any) -> Tensor:
    """(n, C, rows, columns) of a (C, h, w) level, as ``pool`` reads it at n boxes.

    Args:
        scale: cells of the level per pixel of a box.
        pool: torchvision's MultiScaleRoIAlign.
    """
    size, samples = pool.output_size, pool.sampling_ratio
    if level.device.type != "cpu" or samples < 1:
        found: Tensor = roi_align(level[None], [boxes], size, scale, samples)
        return found
    channels, height, width = level.shape
    cells = level.permute(1, 2, 0).reshape(height * width, channels).float()
    x1, y1, x2, y2 = (boxes.float() * scale).unbind(dim=1)
    rows, of_row = taps(y1, y2, height, size[0], samples)
    columns, of_column = taps(x1, x2, width, size[1], samples)
    where = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weights = of_row[:, :, None, :, None] * of_column[:, None, :, None, :]
    bins = F.embedding_bag(
        where.flatten(3).flatten(0, 2), cells, mode="sum", per_sample_weights=weights.flatten(3).flatten(0, 2)
    )
    pooled: Tensor = bins.unflatten(0, (len(boxes), *size)).permute(0, 3, 1, 2).to(level.dtype)
    return pooled


def taps(low: Tensor, high: Tensor, cells: int, bins: int, samples: int) -> tuple[Tensor, Tensor]:
    """Along one axis: (n, bins, 2 samples) cells that each bin is made of, and their weights, which sum to 1 inside.

    Args:
        low, high: (n,) edges in cells; a box is read as at least one cell wide.
        cells: how many there are.
    """
    step = (high - low).clamp(min=1.0) / (bins * samples)
    place = low[:, None] + (torch.arange(bins * samples, device=low.device) + 0.5) * step[:, None]
    outside = (place < -1) | (place > cells)
    place = place.clamp(min=0, max=cells - 1)
    left = place.long()
    right = (left + 1).clamp(max=cells - 1)
    part = place - left
    weights = torch.stack((1 - part, part), dim=-1) / samples
    weights = weights.masked_fill(outside[..., None], 0.0)
    shape = (len(low), bins, 2 * samples)
    return torch.stack((left, right), dim=-1).reshape(shape), weights.reshape(shape)
