"""The random samples that losses look at, drawn for each image by itself, whatever stands beside it in the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

KEY = "draw"
"""In a target: a whole number that the image's draws depend on; without it they come from torch's global generator."""


def generators_of(targets: Sequence[dict[str, Tensor]], stage: int) -> list[torch.Generator | None]:
    """A generator on the CPU for each image; stages of a network draw apart."""
    return [
        torch.Generator().manual_seed(2 * int(target[KEY]) + stage) if KEY in target else None for target in targets
    ]


class ImageSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's sampler, each image drawing from its own generator, on the CPU: the same on every device."""

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        super().__init__(batch_size_per_image, positive_fraction)
        self.generators: list[torch.Generator | None] = []

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the sampled foreground (marks of 1 and above) and background (0) of each image."""
        generators = self.generators or [None] * len(matched_idxs)
        pairs = [self._of_image(marks, one) for marks, one in zip(matched_idxs, generators, strict=True)]
        return [one for one, _ in pairs], [one for _, one in pairs]

    def _of_image(self, marks: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        foreground, background = torch.where(marks >= 1)[0], torch.where(marks == 0)[0]
        most = min(len(foreground), int(self.batch_size_per_image * self.positive_fraction))
        counts = most, min(len(background), self.batch_size_per_image - most)
        masks = []
        for places, count in zip((foreground, background), counts, strict=True):
            drawn = torch.randperm(len(places), generator=generator)[:count]
            mask = torch.zeros_like(marks, dtype=torch.uint8)
            mask[places[drawn.to(places.device)]] = 1
            masks.append(mask)
        return masks[0], masks[1]
