"""What a masked pixel becomes: an image without content of the same size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lungct import registry
from lungct.explain.base import Subject


def baseline_of(subject: Subject, kind: str) -> Tensor:
    """(C, H, W) float32 in 0..1, one of ``registry.BASELINES``.

    Zero is air in a lung window, so that what is hidden looks like a hole; the others are ways around that.
    """
    image = subject.image
    if kind == "mean":
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image).clone()
    if kind == "blur":
        return blurred(image, registry.BLUR_SHARE * min(image.shape[1:]))
    return torch.full_like(image, subject.lung_value if kind == "lung" else 0.0)


def blurred(image: Tensor, sigma_px: float) -> Tensor:
    """(C, H, W) under a Gaussian of three standard deviations' reach; the border's pixels go on outside."""
    reach = max(1, round(3 * sigma_px))
    steps = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (steps / max(sigma_px, 1e-6)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(across, kernel.view(1, 1, -1, 1))[:, 0]
