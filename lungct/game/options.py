"""How the game is played: everything that decides a score, and how the scores are summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lungct import registry
from lungct.errors import UsageError
from lungct.game.faithfulness.options import FaithOptions as FaithOptions


@dataclass(frozen=True)
class GameOptions:
    """What is played.

    Attributes:
        rules: ``repaired``, or ``thesis`` for the published rules with their flaws.
        names: rules of the registry to play; empty for all that need nothing more.
        faithfulness: the model to judge the maps by; None leaves that out.
        shape: what counts as a nodule's pixels, ``box``, ``ellipse`` or ``mask``.
        masks: folder of true masks for ``mask``; None for COCO's own segmentation.
        detections: COCO results that PNG and NIfTI maps are of.
        controls: score the maps that explain nothing, and the true mask, beside the methods.
        validation: heatmaps and COCO truth of another split, which ``iou-validated`` is tuned on.
        thresholds: method -> threshold of ``iou-validated``, as tuned.
        bootstrap: draws of the patient-clustered bootstrap.
        seed: of the bootstrap and of the random control.
        shard: (I, N): only the I-th of N shares of the patients.
    """

    rules: str = "repaired"
    names: Sequence[str] = ()
    faithfulness: FaithOptions | None = None
    shape: str = "box"
    masks: Path | None = None
    detections: Path | None = None
    controls: bool = True
    validation: tuple[Path, Path] | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    bootstrap: int = 2000
    seed: int = 0
    shard: tuple[int, int] | None = None

    @property
    def played(self) -> tuple[str, ...]:
        """The rules that are played, in the registry's order.

        Raises:
            UsageError: ``thesis`` of a rule that was never published in another form; ``iou-validated`` without
                anything to tune it on.
        """
        if self.rules == "thesis":
            later = [name for name in self.names if name not in registry.PUBLISHED_RULES]
            if later:
                raise UsageError(f"--rule {later[0]}: --rules thesis knows {', '.join(registry.PUBLISHED_RULES)}")
        tuned = bool(self.thresholds) or self.validation is not None
        if "iou-validated" in self.names and not tuned:
            raise UsageError("--rule iou-validated is tuned on another split", "name its maps with --validation")
        known = (*registry.UNASKED_RULES, *registry.MAP_MEASURES)
        usual = registry.PUBLISHED_RULES if self.rules == "thesis" else known
        wanted = set(self.names or usual)
        if tuned and not self.names and self.rules != "thesis":
            wanted.add("iou-validated")
        return tuple(name for name in registry.EVERY_MEASURE if name in wanted)
