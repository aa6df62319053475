"""The targets on boxes made by hand, and the pairs of options that make no sense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungct.errors import UsageError
from lungct.explain.goals import box_number, check_goal, check_options, thesis_score
from lungct.explain.network import Network
from lungct.explain.targets import open_image

from .conftest import disc_slice, untrained

BOX = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
ONE = torch.tensor([1])


def thesis(score: float, boxes: list[list[float]], labels: list[int], scores: list[float]) -> float:
    found = torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels), torch.tensor(scores)
    return float(thesis_score(BOX, ONE, torch.tensor([score]), found)[0])


def test_thesis_target_is_its_formula() -> None:
    """IoU (1 - (s' - s)^2)."""
    half = [0.0, 0.0, 10.0, 5.0]
    assert thesis(0.9, [half], [1], [0.4]) == pytest.approx(0.5 * (1 - 0.5**2))
    assert thesis(0.9, [[0, 0, 10, 10]], [1], [0.9]) == pytest.approx(1.0)
    assert thesis(0.9, [half, [0, 0, 10, 8]], [1, 1], [0.9, 0.1]) == pytest.approx(0.8 * (1 - 0.8**2))


def test_thesis_target_looks_at_the_label_after_the_overlap() -> None:
    """The best overlap is of another label, so that it is 0 although a box of the same label is there."""
    assert thesis(0.9, [[0, 0, 10, 10], [0, 0, 10, 9]], [2, 1], [0.9, 0.9]) == 0
    assert thesis(0.9, [], [], []) == 0
    assert thesis(0.9, [[50, 50, 60, 60]], [1], [0.9]) == 0


def test_thesis_target_is_flat_at_the_unchanged_image() -> None:
    score = torch.tensor([0.7], requires_grad=True)
    value, _ = thesis_score(BOX, ONE, torch.tensor([0.7]), (BOX, ONE, score))
    (gradient,) = torch.autograd.grad(value.sum(), score)
    assert gradient.item() == 0


def test_thesis_target_of_a_detector_is_one_where_nothing_changed() -> None:
    from lungct.inference.detect import detect_arrays

    model, image_hu = untrained("faster-rcnn"), disc_slice((30, 40), 6)
    own = detect_arrays(model, [image_hu], score_threshold=0.5, amp="off")[0]
    subject = open_image(Network(model), image_hu, own, scorer="match", target="thesis")
    values = subject.scorer(subject.image[None])
    np.testing.assert_allclose(values.score[0].numpy(), 1.0, atol=1e-4)
    changed = subject.scorer(torch.zeros_like(subject.image)[None])
    assert (changed.score < 0.9).any()
    assert (changed.score <= 1).all()


def test_box_numbers() -> None:
    box = torch.tensor([1.0, 2.0, 5.0, 10.0])
    assert [float(box_number(box, goal)) for goal in ("box-x", "box-y", "box-w", "box-h")] == [3, 6, 4, 8]


@pytest.mark.parametrize(
    ("methods", "scorer", "goal", "says"),
    [
        (["gradcam"], "match", "thesis", "flat at the unchanged image"),
        (["odam"], "auto", "thesis", "flat at the unchanged image"),
        (["scorecam", "layercam"], "match", "score", "layercam works on activations"),
        (["ablationcam"], "match", "score", "use --scorer roi"),
        (["scorecam"], "roi", "thesis", "needs --scorer match"),
        (["scorecam"], "match", "box-w", "needs --scorer roi"),
        (["scorecam"], "match", "logit", "needs --scorer roi"),
        (["drise"], "auto", "logit", "D-RISE compares whole detections"),
    ],
)
def test_pairs_that_make_no_sense_are_refused_in_one_line(
    methods: list[str], scorer: str, goal: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as problem:
        check_options(methods, scorer, goal)
    assert "\n" not in str(problem.value)


def test_pairs_that_make_sense_pass() -> None:
    check_options(["scorecam", "drise", "occlusion", "eigencam"], "match", "thesis")
    check_options(["odam", "scorecam"], "auto", "box-w")
    check_options(["drise"], "roi", "logit")
    with pytest.raises(UsageError, match="none of"):
        check_goal("colour", "roi")
