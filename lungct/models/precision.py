"""Boxes in float32, whatever number format the network computes in.

torchvision makes anchors in the format of the feature maps and decodes boxes in that of the head's outputs. Under
autocast to bf16, whose numbers near 400 lie 2 apart, anchors, proposals, detections and even the true boxes that enter
the second stage would be moved by up to a pixel, and a nodule has ten.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator


class Float32AnchorGenerator(AnchorGenerator):  # type: ignore[misc]
    """torchvision's anchors, in float32 on feature maps of any format."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        """Called with the format of the feature maps; the anchors are added to it as float32."""
        super().set_cell_anchors(torch.float32, device)


def answer_in_float32(head: nn.Module) -> None:
    """Let the outputs of a detection head, nested as they are, leave it as float32."""
    head.register_forward_hook(lambda _module, _inputs, outputs: _float32(outputs))


def _float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _float32(one) for name, one in outputs.items()}
    return type(outputs)(_float32(one) for one in outputs)
