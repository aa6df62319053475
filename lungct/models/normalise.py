"""What torchvision's detectors do to their input, without the resizing: slices are magnified by us, by one factor."""

from __future__ import annotations

from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from lungct.models.card import ModelCard


class Normalise(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Subtracts the mean, divides by the deviation, pads a batch to one size; boxes stay as they are."""

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        """Leave the size alone (torchvision's would bring the short side to 800 px)."""
        return image, target


def normalise(card: ModelCard) -> Normalise:
    """The input step of a card's detector; pads to multiples of the coarsest stride, so that levels nest."""
    return Normalise(
        min_size=1,
        max_size=1,
        image_mean=list(card.input_mean),
        image_std=list(card.input_std),
        size_divisible=card.strides[-1],
    )
