"""Scores of fixed detections: on the unchanged image they are the detections' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lungct.errors import InputError, UsageError
from lungct.explain.network import Network
from lungct.explain.places import DensePlaces, reach_of
from lungct.explain.targets import best, open_image
from lungct.inference.detect import detect_arrays
from lungct.models.dense import dense_answers
from lungct.models.detector import LoadedModel
from lungct.registry import BACKBONES
from lungct.types import Detections

from .conftest import DETECTORS, boxes_at, disc_slice, untrained


@pytest.fixture(params=[1.0, 2.0], ids=["native", "magnified"])
def found(request: pytest.FixtureRequest) -> tuple[float, np.ndarray]:
    return request.param, disc_slice((30, 40), 6)


def with_area(found: Detections) -> Detections:
    """Without boxes that clipping to the image has left without area."""
    keep = (found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]).min(axis=1) > 1
    return Detections(found.image_id, found.boxes_xyxy_px[keep], found.scores[keep], found.labels[keep])


@pytest.mark.parametrize("detector", DETECTORS)
def test_match_returns_the_detections_own_scores(detector: str, found: tuple[float, np.ndarray]) -> None:
    model = untrained(detector, found[0])
    own = best(detect_arrays(model, [found[1]], score_threshold=0.05, amp="off")[0], 60, 0.05)
    own = with_area(own)
    subject = open_image(Network(model), found[1], own, scorer="match")
    scores = subject.scorer(subject.image[None])
    assert len(own) > 2
    np.testing.assert_allclose(scores.score[0].numpy(), own.scores, atol=2e-3)
    assert not scores.lost.any()


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_finds_the_place_each_detection_was_decoded_from(
    detector: str, found: tuple[float, np.ndarray]
) -> None:
    model = untrained(detector, found[0])
    own = best(detect_arrays(model, [found[1]], score_threshold=0.05, amp="off")[0], 8, 0.05)
    subject = open_image(Network(model), found[1], own)
    np.testing.assert_allclose(subject.scorer(subject.image[None]).score[0].numpy(), own.scores, atol=1e-4)
    assert len(own) >= 3


@pytest.mark.parametrize("backbone", list(BACKBONES))
@pytest.mark.parametrize("detector", DETECTORS)
def test_every_backbone_is_opened_at_its_own_detections(detector: str, backbone: str) -> None:
    model, image_hu = untrained(detector, backbone=backbone), disc_slice((30, 40), 6)
    own = with_area(best(detect_arrays(model, [image_hu], score_threshold=0.0, amp="off")[0], 5, 0.0))
    subject = open_image(Network(model), image_hu, own)
    score = subject.scorer(subject.image[None]).score[0].numpy()
    assert len(own) > 0
    assert set(subject.activations) == set(subject.levels.tolist())
    assert all(one.shape == (16, 80 >> (2 + level), 64 >> (2 + level)) for level, one in subject.activations.items())
    np.testing.assert_allclose(score, own.scores, atol=1e-4)


def test_roi_scorer_is_the_box_head_on_the_box_itself(found: tuple[float, np.ndarray]) -> None:
    """torchvision's own head, given the detections as its proposals, gives the same probabilities."""
    model = untrained("faster-rcnn", found[0])
    boxes = boxes_at((24, 34, 36, 46), (4, 4, 14, 12), (0, 0, 64, 72))
    subject = open_image(Network(model), found[1], boxes, missed=np.ones(3, bool))
    network = model.detector
    with torch.inference_mode():
        images, _ = network.transform([subject.image])  # type: ignore[operator]
        features = network.backbone(images.tensors)  # type: ignore[operator]
        proposals = [torch.from_numpy(boxes.boxes_xyxy_px * np.float32(found[0]))]
        heads = network.roi_heads
        logits, _ = heads.box_predictor(  # type: ignore[operator, union-attr]
            heads.box_head(heads.box_roi_pool(features, proposals, images.image_sizes))  # type: ignore[operator, union-attr]
        )
    expected = logits.softmax(-1)[:, 1]
    np.testing.assert_allclose(subject.scorer(subject.image[None]).score[0].numpy(), expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(subject.detections.scores, expected.numpy(), atol=1e-6)


def test_scores_do_not_depend_on_the_batch(model: LoadedModel) -> None:
    subject = open_image(Network(model), disc_slice((30, 40), 6), boxes_at((24, 34, 36, 46)))
    images = torch.rand(5, *subject.image.shape, generator=torch.Generator().manual_seed(0))
    together = subject.scorer(images).score
    alone = torch.cat([subject.scorer(one[None]).score for one in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_match_says_when_a_box_is_lost(model: LoadedModel) -> None:
    far = boxes_at((1, 60, 5, 64.5))
    subject = open_image(Network(model), disc_slice((30, 40), 6), far, scorer="match")
    with torch.no_grad():
        for one in model.detector.modules():
            if isinstance(one, nn.Linear):
                one.weight.zero_()
    scores = subject.scorer(torch.zeros_like(subject.image)[None])
    assert scores.lost.shape == (1, 1)
    assert ((scores.score > 0.5) <= ~scores.lost).all()


def test_roi_level_is_that_of_the_fpn_paper() -> None:
    """k = floor(4 + log2(sqrt(area) / 224)), k from 2 to 4 for strides 4 to 16."""
    sides = (10, 111, 113, 223, 225, 500)
    boxes = boxes_at(*((2, 2, 2 + side, 2 + side) for side in sides))
    subject = open_image(Network(untrained("faster-rcnn")), np.zeros((3, 512, 512), np.int16), boxes)
    assert subject.levels.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(subject.activations) == [0, 1, 2]


def test_level_can_be_forced_and_must_exist(model: LoadedModel) -> None:
    image_hu, boxes = disc_slice((30, 40), 6), boxes_at((24, 34, 36, 46))
    subject = open_image(Network(model), image_hu, boxes, level="P4")
    assert subject.levels.tolist() == [2]
    assert list(subject.activations) == [2]
    with pytest.raises(UsageError, match="levels P2, P3, P4"):
        open_image(Network(model), image_hu, boxes, level="P5")


def test_unknown_category_is_refused(model: LoadedModel) -> None:
    boxes = boxes_at((24, 34, 36, 46))
    other = Detections(1, boxes.boxes_xyxy_px, boxes.scores, np.array([7]))
    with pytest.raises(InputError, match="category 7"):
        open_image(Network(model), disc_slice((30, 40), 6), other)


def test_nothing_is_left_behind_in_the_detector(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hook, and thresholds as they were, also after an error."""
    holder = getattr(model.detector, "roi_heads", model.detector)
    before = holder.score_thresh, holder.detections_per_img
    hooks = _hooks(model)
    subject = open_image(Network(model), disc_slice((30, 40), 6), boxes_at((24, 34, 36, 46)), scorer="match")
    subject.scorer(subject.image[None])
    inside = []

    def broken(images: torch.Tensor) -> None:
        inside.append((holder.score_thresh, holder.detections_per_img))
        raise RuntimeError("the pass broke")

    monkeypatch.setattr(model.detector.backbone, "forward", broken)
    with pytest.raises(RuntimeError, match="the pass broke"):
        subject.scorer(subject.image[None])
    assert inside == [(0.0, 10_000)]
    assert (holder.score_thresh, holder.detections_per_img) == before
    assert _hooks(model) == hooks


def _hooks(model: LoadedModel) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.detector.modules())


def test_windows_of_a_dense_head_are_exact() -> None:
    """A large level, where the head is run on what each place can see: the same as the whole level gives."""
    network = Network(untrained("retinanet"))
    subject = open_image(network, disc_slice((30, 40), 6, (160, 144)), boxes_at((24, 34, 36, 46), (1, 1, 9, 9)))
    places = subject.head.places  # type: ignore[union-attr]
    assert isinstance(places, DensePlaces)
    assert reach_of(network.detector.head) == 5
    with torch.no_grad():
        images = network.prepare(subject.image[None])
        maps = list(network.pyramid(images).values())
        boxes, scores = dense_answers(network.detector, maps, network.detector.anchor_generator(images, maps)[0])
    where = np.cumsum([0, *[one.shape[-2] * one.shape[-1] for one in maps]])[places.levels] + places.places
    np.testing.assert_allclose(subject.scorer(subject.image[None]).score[0], scores[0, where, 1], atol=1e-6)
    wide = open_image(network, subject.image_hu, subject.detections, target="box-w")
    widths = boxes[0, where, 2] - boxes[0, where, 0]
    np.testing.assert_allclose(wide.scorer(subject.image[None]).score[0], widths, rtol=1e-5)


@pytest.mark.parametrize("level", ["auto", "lateral"])
def test_what_lies_outside_the_cells_of_a_detection_does_not_matter(model: LoadedModel, level: str) -> None:
    subject = open_image(Network(model), disc_slice((30, 40), 6, (160, 144)), boxes_at((24, 34, 36, 46)), level=level)
    own = int(subject.levels[0])
    activations, head = subject.activations[own], subject.head
    assert head is not None
    cells = head.cells(own, 0, (activations.shape[1], activations.shape[2]))
    noise = torch.randn(activations.shape, generator=torch.Generator().manual_seed(0))
    changed = [activations, *(activations + torch.from_numpy(where).float() * noise for where in (~cells, cells))]
    with torch.no_grad():
        before, outside, inside = (head(own, one[None], np.arange(1)) for one in changed)
    torch.testing.assert_close(before, outside)
    assert not torch.allclose(before, inside)
