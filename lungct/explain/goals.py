"""What of a detection is explained: its score, its logit, one number of its box, or the first published target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from lungct import registry
from lungct.errors import UsageError

BOX_GOALS = ("box-x", "box-y", "box-w", "box-h")
THESIS = "thesis"


def check_goal(goal: str, scorer: str) -> None:
    """Refuse a target that the scorer has no number for.

    Raises:
        UsageError: the pair makes no sense.
    """
    if goal == THESIS and scorer != "match":
        raise UsageError("--target thesis compares what is detected with what was: it needs --scorer match")
    if goal not in ("score", THESIS) and scorer == "match":
        raise UsageError(f"--target {goal} is read at a fixed place, a detection may be lost: it needs --scorer roi")
    if goal not in registry.TARGETS:
        raise UsageError(f"--target {goal!r} is none of {', '.join(registry.TARGETS)}")


def check_options(methods: Sequence[str], scorer: str, goal: str) -> None:
    """Refuse methods, scorer and target that make no sense together, before anything is read.

    Raises:
        UsageError: which of them, and what to use instead.
    """
    inside = [one for one in methods if registry.METHODS[one].inside]
    if inside and goal == THESIS:
        raise UsageError(
            f"--target thesis is flat at the unchanged image, so that {inside[0]} would see nothing: use --target score"
        )
    if inside and scorer == "match":
        raise UsageError(f"{inside[0]} works on activations, --scorer match detects anew from images: use --scorer roi")
    if "drise" in methods and scorer == "auto" and goal != "score":
        raise UsageError(
            f"D-RISE compares whole detections and knows no --target {goal}: add --scorer, or leave it out"
        )
    check_goal(goal, scorer)


def box_number(boxes: Tensor, goal: str) -> Tensor:
    """(...,) centre or extent, network pixels, of (..., 4) boxes x1, y1, x2, y2."""
    axis = 0 if goal in ("box-x", "box-w") else 1
    low, high = boxes[..., axis], boxes[..., axis + 2]
    return high - low if goal in ("box-w", "box-h") else (low + high) / 2


def thesis_score(
    boxes: Tensor, labels: Tensor, scores: Tensor, found: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """(D,) IoU (1 - (s' - s)^2) of detections and what is found on a changed image, and (D,) the IoU itself.

    Kept for parity: it takes the found box of largest IoU, whatever its label, and only then asks for the label; where
    that differs, or nothing is found, it is 0. At the unchanged image it is flat in s', so its gradient is zero there.

    Args:
        boxes, labels, scores: (D, 4), (D,), (D,) of the detections.
        found: the same three of the N boxes on the changed image, in the same pixels.
    """
    others, other_labels, other_scores = found
    if not len(others):
        return torch.zeros_like(scores), torch.zeros_like(scores)
    iou, best = box_iou(boxes, others.float()).nan_to_num().max(dim=1)
    iou = iou * (other_labels[best] == labels)
    return iou * (1 - (other_scores[best].float() - scores) ** 2), iou
