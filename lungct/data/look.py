"""How a slice's values are changed while a detector learns: contrast, gamma, CLAHE, blur, noise; no pixel moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from lungct.ct.clahe import clahe
from lungct.ct.enhance import TILES
from lungct.data.augmentation import Augmentation

LEAST_SIDE_PX = 16
"""CLAHE's tiles need so many pixels; smaller windows are left as they are."""
_GRAYS = np.arange(256.0)


@dataclass(frozen=True)
class Look:
    """One draw.

    Attributes:
        clahe: clip limit; 0 leaves it out.
        gain, offset: of the windowed values, ``0.5 + gain * (v - 0.5) + offset``.
        gamma: exponent of the windowed values.
        blur_px: sigma, stored pixels; 0 leaves it out.
        noise_hu: standard deviation; 0 leaves it out.
        noise_seed: of the noise.
    """

    clahe: float = 0.0
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    blur_px: float = 0.0
    noise_hu: float = 0.0
    noise_seed: int = 0


def draw_look(random: np.random.Generator, how: Augmentation) -> Look:
    """A random look; the same number of random numbers is taken whatever the chances are."""
    chosen, strength = random.random(5), random.uniform(-1, 1, 6)
    part = (strength + 1) / 2
    toned, gammaed, equalised, blurred, noised = chosen < np.array(
        [how.tone_chance, how.gamma_chance, how.clahe_chance, how.blur_chance, how.noise_chance]
    )
    low, high = np.log(how.gamma)
    softest, widest = how.blur_px
    return Look(
        clahe=float(1 + (how.clahe - 1) * part[3]) if equalised else 0.0,
        gain=float(1 + how.contrast * strength[0]) if toned else 1.0,
        offset=float(how.brightness * strength[1]) if toned else 0.0,
        gamma=float(np.exp(low + (high - low) * part[2])) if gammaed else 1.0,
        blur_px=float(softest + (widest - softest) * part[4]) if blurred else 0.0,
        noise_hu=float(how.noise_hu * part[5]) if noised else 0.0,
        noise_seed=int(random.integers(2**63)),
    )


def equalised(image: Tensor, look: Look) -> Tensor:
    """(C, Y, X) float32 in 0..1 after CLAHE of each channel on 256 grays, where the look has one."""
    if not look.clahe or min(image.shape[1:]) < LEAST_SIDE_PX:
        return image
    grays = np.rint(image.numpy() * 255).astype(np.intp)
    planes = [clahe(plane, _GRAYS, look.clahe, TILES) for plane in grays]
    return torch.from_numpy(np.stack(planes)).div_(255)


def changed(image: Tensor, look: Look, hu_span: float) -> Tensor:
    """(C, Y, X) float32 in 0..1, overwritten, after the look; any number of channels.

    Args:
        hu_span: HU between 0 and 1.
    """
    image = equalised(image, look)
    if look.gain != 1 or look.offset:
        image = image.sub_(0.5).mul_(look.gain).add_(0.5 + look.offset).clamp_(0, 1)
    if look.gamma != 1:
        image = v2.adjust_gamma(image, look.gamma)
    if look.blur_px:
        from scipy import ndimage  # here, for running a trained model imports this module, too

        sigma = (0, look.blur_px, look.blur_px)  # torch's convolution would be planned anew for every size
        image = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), sigma, mode="mirror", truncate=3))
    if look.noise_hu:
        noise = np.random.default_rng(look.noise_seed).standard_normal(tuple(image.shape), dtype=np.float32)
        image = image.add_(torch.from_numpy(noise), alpha=look.noise_hu / hu_span).clamp_(0, 1)
    return image
