"""What may happen to a training slice: the numbers of every augmentation preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Augmentation:
    """Chances and strengths; a chance of 0 leaves a step out.

    Attributes:
        flip_x_chance, flip_y_chance: mirroring left to right, top to bottom.
        affine_chance: scale, shift, turn and shear, together.
        scale: smallest and largest factor, log-uniform.
        shift: largest, as a share of what is shown; random crops shift anyway.
        rotate_deg: largest turn either way.
        shear: largest tangent of the angle either way.
        tone_chance: contrast and brightness, together.
        contrast: largest relative change of the windowed range about its middle.
        brightness: largest shift, in units of the windowed range.
        gamma_chance, gamma: smallest and largest exponent of the windowed 0..1, log-uniform.
        clahe_chance, clahe: largest clip limit, uniform from 1; 8 x 8 tiles on what is shown.
        blur_chance, blur_px: smallest and largest sigma of a Gaussian, stored pixels.
        noise_chance, noise_hu: largest standard deviation of Gaussian noise, uniform from 0.
        paste_chance, paste_most: nodules of other patients laid into the lungs, at most so many.
        mosaic_chance: four slices side by side in place of one.
    """

    flip_x_chance: float = 0.0
    flip_y_chance: float = 0.0
    affine_chance: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotate_deg: float = 0.0
    shear: float = 0.0
    tone_chance: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma_chance: float = 0.0
    gamma: tuple[float, float] = (1.0, 1.0)
    clahe_chance: float = 0.0
    clahe: float = 4.0
    blur_chance: float = 0.0
    blur_px: tuple[float, float] = (0.8, 0.8)
    noise_chance: float = 0.0
    noise_hu: float = 0.0
    paste_chance: float = 0.0
    paste_most: int = 2
    mosaic_chance: float = 0.0


_SYSTEM1 = {
    "flip_x_chance": 0.5,
    "affine_chance": 0.5,
    "scale": (0.9, 1.1),
    "shift": 0.05,
    "rotate_deg": 15.0,
    "tone_chance": 0.5,
    "contrast": 0.1,
    "brightness": 0.1,
    "clahe_chance": 0.4,
    "clahe": 4.0,
}

NONE = Augmentation()
DEFAULT = Augmentation(
    flip_x_chance=0.5,
    flip_y_chance=0.5,
    affine_chance=1.0,
    scale=(0.8, 1.25),
    tone_chance=1.0,
    contrast=0.15,
    brightness=0.08,
)

PRESETS: Mapping[str, Augmentation] = {
    "none": NONE,
    "default": DEFAULT,
    "paste": replace(DEFAULT, paste_chance=0.5),
    "strong": Augmentation(
        flip_x_chance=0.5,
        flip_y_chance=0.5,
        affine_chance=1.0,
        scale=(0.7, 1.4),
        rotate_deg=30.0,
        shear=0.1,
        tone_chance=1.0,
        contrast=0.2,
        brightness=0.1,
        gamma_chance=0.5,
        gamma=(0.75, 1.35),
        blur_chance=0.15,
        blur_px=(0.3, 0.8),
        noise_chance=0.3,
        noise_hu=40.0,
        paste_chance=0.5,
        paste_most=2,
    ),
    "system1-dlcs": Augmentation(**_SYSTEM1),  # type: ignore[arg-type]
    "system1-nlst": Augmentation(**_SYSTEM1, blur_chance=0.3),  # type: ignore[arg-type]
    "system2": Augmentation(
        flip_x_chance=0.5, flip_y_chance=0.5, affine_chance=1.0, scale=(0.8, 1.2), rotate_deg=30.0, shear=0.2
    ),
    "system3": Augmentation(affine_chance=1.0, scale=(512 / 612, 512 / 484), rotate_deg=30.0),
}
"""Published settings under the names of their systems; what their works leave open is ours.

``system1-*``: flip left to right .5; shift, scale, rotate .05, .1, 15 degrees at .5; brightness and contrast .1 at .5;
CLAHE at .4, its clip limit and tiles not given: those of the libraries' default, up to 4, 8 x 8; on NLST a blur of
kernel 3 at .3, here the Gaussian of that kernel, sigma .8. ``system2``: rotation 30 degrees, both flips, zoom .2 (here
the same along both axes), shear .2. ``system3``: rotation of 30 degrees; padding by 50 px, a centred crop of 0 to 64 px
a side, then one size for all make, on its 512 px slices, scales of 512/612 to 512/484; its 240 px are ``--magnify .47
--crop 0``; no flips, as in its detector that had none. What a turn brings in from beyond a slice is air.
"""
