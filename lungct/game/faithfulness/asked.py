"""What is asked about a map, and how it was made; imports no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lungct.explain.base import MethodOptions
from lungct.types import BoolArray, Detections, FloatArray


@dataclass(frozen=True)
class Making:
    """How ``lungct explain`` made a map, as far as making it anew takes that.

    Attributes:
        options: of the method.
        level, scorer, target: where the network was opened, and what for; see :func:`open_image`.
        per: whether the map is of one detection, or of all of a class or an image together.
    """

    options: MethodOptions = field(default_factory=MethodOptions)
    level: str = "auto"
    scorer: str = "auto"
    target: str = "score"
    per: str = "detection"


@dataclass(frozen=True, eq=False)
class Asked:
    """One map to judge: whose it is, and of which of the image's detections.

    Attributes:
        missed: (D,) which of the detections are true boxes that the detector did not find.
    """

    method: str
    detections: Detections
    missed: BoolArray
    number: int
    heatmap: FloatArray
    made: Making


def making_of(provenance: Mapping[str, Any]) -> Making:
    """How a map was made, as its provenance says; the defaults where it says nothing."""
    settings = provenance.get("settings") or {}
    options = MethodOptions(**_known(settings, MethodOptions))
    return Making(options, **_known(settings, Making))


def _known(settings: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {one.name for one in dataclasses.fields(kind)}
    return {name: value for name, value in settings.items() if name in names}
