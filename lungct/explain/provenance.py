"""What made a map, JSON-ready, and its fingerprint: the same fingerprint, the same way of making."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from lungct import __version__
from lungct.explain.base import Explanation

_PACKAGES = ("numpy", "torch", "torchvision")


def provenance_of(
    method: str, explanation: Explanation, flags: tuple[str, ...], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Method, where each map was read, flags, every setting, the versions, and what the method itself notes."""
    return {
        "method": method,
        "layers": list(explanation.layers),
        "flags": list(flags),
        "settings": dict(settings),
        "versions": dict(versions()),
        "raw_shapes": [list(one.shape) for one in explanation.raw],
        "rectified": explanation.rectify,
        **explanation.record,
    }


def fingerprint(provenance: Mapping[str, Any]) -> str:
    """Hex SHA-256 of the ``provenance`` text in an NPZ."""
    return hashlib.sha256(as_text(provenance).encode()).hexdigest()


def as_text(provenance: Mapping[str, Any]) -> str:
    """Sorted JSON, as it stands in an NPZ."""
    return json.dumps(provenance, sort_keys=True)


@cache
def versions() -> Mapping[str, str]:
    """Of what computes a map."""
    return {"lungct": __version__, "python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
