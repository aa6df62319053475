"""What maps cost beside pytorch-grad-cam's, on the same model and image: run it, with ``whole`` to extrapolate nothing.

Faster R-CNN on MobileNetV2-FPN of torchvision's widths (256 channels, 1,000 proposals, a head of 1,024), untrained, on
256 x 256 px, five detections read at P2 (256 x 64 x 64). CPU-seconds on one thread and the peak of each way's own
process, imports not counted in the seconds.

Unless ``whole`` is given, 48 of the 256 channels are scored (three of the peer's batches) and the seconds are counted
for all; the peer still holds all of its masks, so that its peak is its own. pytorch-grad-cam explains one detection per
call, so five cost five times as much. SS-CAM it has not: its peer is the same loop with 35 samples per channel.
"""
# ruff: noqa: T201

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import measured
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "explain"))

CHANNELS, SOME, SAMPLES, DETECTIONS = 256, 48, 35, 5
EIGEN = ("ours: Gram", "pytorch-grad-cam: SVD")
SCORE = (
    "ours: roi, 5 detections",
    "ours: roi, bf16",
    "ours: match, 5 detections",
    "pytorch-grad-cam: 1 detection",
)
NOISY = "ours: SS-CAM, 2 samples"


def activations() -> np.ndarray:
    """(256, 64, 64) smooth channels with a slowly falling spectrum, as a pyramid's are."""
    random = np.random.default_rng(0)
    shapes = random.normal(size=(64, 64 * 64)).astype(np.float32) * (np.arange(64, 0, -1) / 64)[:, None]
    return np.asarray(random.normal(size=(256, 64)) @ shapes, np.float32).reshape(256, 64, 64)


def network() -> Any:
    """The detector, opened for explanations."""
    import torch

    from lungct.explain.network import Network
    from lungct.models.card import ModelCard
    from lungct.models.detector import LoadedModel, build_detector

    torch.manual_seed(0)
    card = ModelCard(
        detector="faster-rcnn",
        backbone="mobilenet-v2",
        width=1.0,
        norm="batch",
        fpn_channels=CHANNELS,
        strides=(4, 8, 16),
        anchor_sizes_px=((8.0,), (16.0,), (32.0,)),
        in_channels=3,
        hu_window=(-1000.0, 500.0),
        magnify=1.0,
        categories={1: "nodule"},
        head_units=1024,
        proposals_test=1000,
        input_mean=(0.5,) * 3,
        input_std=(0.25,) * 3,
    )
    detector = build_detector(card).eval()
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight.mul_(20)  # type: ignore[union-attr, operator]
    return Network(LoadedModel(detector.to(memory_format=torch.channels_last), card))  # type: ignore[call-overload]


def opened(of: Any, scorer: str) -> Any:
    """Five of the detector's own detections on a slice of noise and discs, masks stretched as the peer does."""
    import dataclasses

    from classifier import StretchedGeometry

    from lungct.explain.targets import best, open_image
    from lungct.inference.detect import detect_arrays

    image = np.random.default_rng(3).normal(-850, 25, (3, 256, 256))
    y, x = np.mgrid[:256, :256]
    for column, row, radius in ((60, 70, 9), (180, 90, 6), (120, 200, 12)):
        image[:, np.hypot(x - column, y - row) <= radius] = 30
    image_hu = image.astype(np.int16)
    found = best(detect_arrays(of.model, [image_hu], score_threshold=0.05, amp="off")[0], DETECTIONS, 0.05)
    subject = open_image(of, image_hu, found, scorer=scorer)
    return dataclasses.replace(subject, geometry=StretchedGeometry(**dataclasses.asdict(subject.geometry)))


def target(box: Any, label: int, output: dict[str, Any]) -> Any:
    """The best p x IoU of the label, as ``match``."""
    from torchvision.ops import box_iou

    iou = box_iou(box[None], output["boxes"])[0] * (output["labels"] == label)
    return (iou * output["scores"]).max()


@contextlib.contextmanager
def everything(of: Any) -> Iterator[None]:
    """Let all candidates out, as ``match`` does."""
    of.detector.roi_heads.score_thresh, of.detector.roi_heads.detections_per_img = 0.0, 10_000
    yield


def eigencam(way: str, level: np.ndarray) -> dict[str, Any]:
    """Of one level."""
    if way == EIGEN[0]:
        from lungct.explain.eigencam import first_component

        found = first_component(level, centred=True)
    else:
        from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

        found = get_2d_projection(level[None])[0]
    return {"map": found.ravel()[::7].tolist()}


def scorecam_of(way: str, of: Any, subject: Any) -> dict[str, Any]:
    """Score-CAM with the paper's weights, the only ones the peer has; the first detection is compared."""
    if not way.startswith("ours"):
        return peer_of(of, subject, len(subject.activations[0]))
    from lungct.explain import masked_channels
    from lungct.explain.base import MethodOptions
    from lungct.explain.scorecam import scorecam

    scores: list[Any] = []
    plain = masked_channels.weights_of

    def noting(score: Any, kind: str, base: float = 0.0) -> Any:
        scores.append(score)
        return plain(score, kind, base)

    masked_channels.weights_of = noting
    raw = scorecam(subject, MethodOptions(weights="softmax")).raw[0]
    return {"map": np.maximum(raw, 0).ravel()[::7].tolist(), "scores": scores[0].tolist()}


def peer_of(of: Any, subject: Any, channels: int) -> dict[str, Any]:
    """pytorch-grad-cam on one detection; after so many channels its model repeats what it said last, at no cost."""
    import torch
    from pytorch_grad_cam import ScoreCAM

    class Brief(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector, self.seen, self.last = of.detector, -1, []

        def forward(self, batch: Any) -> Any:
            if self.seen < channels:
                self.last = self.detector(list(batch))
                self.seen += len(batch)
            return self.last[:1] * len(batch) if len(self.last) != len(batch) else self.last

    class Kept(ScoreCAM):  # type: ignore[misc]
        kept: ClassVar[list[Any]] = []

        def get_cam_weights(self, *arguments: Any) -> Any:
            weights = super().get_cam_weights(*arguments)
            self.kept.append((weights[0], arguments[3][0]))
            return weights

    box, layer = torch.from_numpy(subject.detections.boxes_xyxy_px)[0], of.detector.backbone.fpn.layer_blocks[0]
    with everything(of), torch.no_grad(), Kept(Brief(), [layer]) as cam:
        cam(subject.image[None], [functools.partial(target, box, 1)])
    weights, maps = Kept.kept[0]
    scores = np.log(weights[:channels])
    raw = np.tensordot(np.exp(scores) / np.exp(scores).sum(), maps[:channels], axes=1)
    return {"map": np.maximum(raw, 0).ravel()[::7].tolist(), "scores": scores.tolist()}


def sscam_of(subject: Any, samples: int) -> dict[str, Any]:
    """SS-CAM 1, thesis preset."""
    from lungct.explain.base import MethodOptions, load_method

    return {"passes": load_method("sscam1")(subject, MethodOptions(preset="thesis", samples=samples)).record["passes"]}


def one_run(way: str, whole: bool) -> None:
    """The process of one run: load what is needed, then measure."""
    import torch

    torch.set_num_threads(1)
    if way in EIGEN:
        import pytorch_grad_cam

        level = activations()
        measured.report_self(lambda: eigencam(way, level))
        return
    import dataclasses

    if way == SCORE[3]:
        import pytorch_grad_cam  # noqa: F401

    of = network()
    if way == SCORE[1]:
        of = dataclasses.replace(of, amp="bf16")
    subject = opened(of, "match" if "match" in way else "roi")
    if not whole:
        subject = dataclasses.replace(subject, activations={0: subject.activations[0][:SOME]})
    if way in SCORE:
        measured.report_self(lambda: scorecam_of(way, of, subject))
    else:
        measured.report_self(lambda: sscam_of(subject, SAMPLES if whole else 2))


def correlation(a: measured.Figure, b: measured.Figure, of: str) -> float:
    """Of two ways' maps, or of the channels' scores (theirs up to a constant, from the logarithm of their softmax)."""
    return float(np.corrcoef(a.said[of], b.said[of])[0, 1])


def main(whole: bool, repeats: int) -> None:
    """Measure every way, print tables and the ratios."""
    script, more = Path(__file__), "whole" if whole else "part"
    eigen = measured.in_turn(script, EIGEN, more, repeats=repeats)
    score = measured.in_turn(script, (*SCORE, NOISY), more, repeats=repeats)
    print(measured.table(eigen, EIGEN[0]))
    print(measured.table(score, SCORE[0]))
    report({**eigen, **score}, whole)


def report(of: dict[str, measured.Figure], whole: bool) -> None:
    """The ratios, for all 256 channels."""
    scored = CHANNELS if whole else SOME
    a, b = (np.array(of[way].said["map"]) / np.linalg.norm(of[way].said["map"]) for way in EIGEN)
    faster = of[EIGEN[1]].median_s / of[EIGEN[0]].median_s
    print(f"EigenCAM: {faster:.0f} x faster, |cosine| {abs(float(a @ b)):.6f}")
    theirs = of[SCORE[3]]
    peer = theirs.median_s * (1 + CHANNELS) / (1 + scored)
    for way in SCORE[:3]:
        ours = of[way].median_s * (2 + CHANNELS) / (2 + scored)
        memory = of[way].peak_mb / theirs.peak_mb
        maps_alike, scores_alike = (correlation(of[way], theirs, name) for name in ("map", "scores"))
        print(f"Score-CAM, {way}: {ours:.0f} CPU-s, theirs {DETECTIONS * peer:.0f}: {DETECTIONS * peer / ours:.1f} x")
        print(
            f"    peak memory {memory:.2f} of theirs; correlation of maps {maps_alike:.5f}, scores {scores_alike:.5f}"
        )
    ours = of[NOISY].median_s * (2 + CHANNELS * SAMPLES) / (2 + scored * (SAMPLES if whole else 2))
    print(
        f"SS-CAM, 5 detections: {ours / 60:.1f} CPU-min, the peer's loop {DETECTIONS * peer * SAMPLES / 3600:.1f} CPU-h"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in (*EIGEN, *SCORE, NOISY):
        one_run(sys.argv[1], sys.argv[2] == "whole")
    else:
        main("whole" in sys.argv, 3 if "repeat" in sys.argv else 1)
