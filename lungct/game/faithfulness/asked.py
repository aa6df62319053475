"""What is asked about a map, and with which options it was made; imports no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lungct.explain.base import MethodOptions
from lungct.types import Detections, FloatArray


@dataclass(frozen=True, eq=False)
class Asked:
    """One map to judge: whose it is, and of which of the image's detections."""

    method: str
    detections: Detections
    number: int
    heatmap: FloatArray
    options: MethodOptions


def options_of(provenance: Mapping[str, Any]) -> MethodOptions:
    """The options that a map was made with, as its provenance says; the defaults where it says nothing."""
    settings = provenance.get("settings") or {}
    known = {one.name for one in dataclasses.fields(MethodOptions)}
    return MethodOptions(**{name: value for name, value in settings.items() if name in known})
