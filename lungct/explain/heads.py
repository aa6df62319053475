"""The target as a function of one level's activations: what the gradient and feature-space methods look into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lungct.explain.places import Places
from lungct.types import BoolArray, IntArray


class Head(Protocol):
    """Everything after a level, with the other levels as the image gave them; differentiable, in float32."""

    def __call__(self, level: int, activations: Tensor, which: IntArray) -> Tensor:
        """(B, C, h, w) activations in a level's place -> (B, n) values of the detections ``which``."""

    def cells(self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False) -> BoolArray:
        """(h, w) cells of a level that the value of detection ``number`` depends on; ``near`` leaves out far ones."""


@dataclass(frozen=True, eq=False)
class DetectorHead:
    """The rest of a detector after its pyramid, or after the laterals of it.

    Attributes:
        places: where the detections come from.
        layers: (1, C, h, w) per level.
        pyramid: what makes the pyramid of the layers.
        goal: a name of ``registry.TARGETS``.
        further: how many cells around it a cell of the pyramid is made of.
    """

    places: Places
    layers: Sequence[Tensor]
    pyramid: Callable[[Sequence[Tensor]], Mapping[str, Tensor]]
    goal: str
    further: int = 0

    def __call__(self, level: int, activations: Tensor, which: IntArray) -> Tensor:
        """See :class:`Head`."""
        layers = [*self.layers]
        layers[level] = activations
        return self.places.only(which).values(self.pyramid(layers), self.goal)

    def cells(self, level: int, number: int, shape_hw: tuple[int, int], *, near: bool = False) -> BoolArray:
        """See :class:`Head`; a lateral is read one cell further, for a 3 x 3 convolution makes the level of it."""
        return self.places.cells(level, number, shape_hw, near=near, further=self.further)
