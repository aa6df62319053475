"""How faithfulness is measured; kept apart from what needs the network, so that options cost no import of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct import registry
from lungct.io.manifest import sha256_of
from lungct.io.weights_header import weights_of


@dataclass(frozen=True)
class FaithOptions:
    """How faithfulness is measured.

    Attributes:
        run: the trained model that the maps are of.
        names: of ``registry.FAITHFULNESS``; empty for all.
        steps, draws: see :class:`Settings`.
        scorer: how a changed image is scored, ``roi`` or ``match``.
        override: take slices whose spacing or HU range differs from the training's.
    """

    run: Path
    names: Sequence[str] = ()
    steps: int = 100
    draws: int = 4
    scorer: str = "roi"
    override: bool = False
    device: str = "auto"
    threads: int = 0

    def facts(self) -> dict[str, Any]:
        """Everything that decides a value, JSON-ready and without a place in it."""
        own = {name: getattr(self, name) for name in ("steps", "draws", "scorer", "override")}
        if any(name.startswith("sanity") for name in self.played):
            own["sanity_over"] = "pixels above 0"  # of all pixels in an earlier version
        return {**own, "names": list(self.played), "model_sha256": sha256_of(weights_of(self.run))}

    @property
    def played(self) -> tuple[str, ...]:
        """The measures, in the registry's order."""
        return tuple(name for name in registry.FAITHFULNESS if name in (self.names or registry.FAITHFULNESS))
