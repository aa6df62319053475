"""Pure data: the name of everything that can be chosen, and every default with a unit; imports nothing heavy.

A new source, detector, backbone, selection rule, method or game rule is one short file plus one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SPACING_MM_XYZ = (0.703125, 0.703125, 1.25)
HU_CLIP = (-1000, 500)
SPLIT_FRACTIONS = (0.70, 0.18, 0.12)
SPLITS = ("train", "val", "test")
NEGATIVE_DISTANCE_MM = 10.0
NOISE_PERCENTILE = 98.0
"""Of the Laplacian variance: images above are among the noisiest; as published, 2 % of the slices."""
HU_WINDOWS: Mapping[str, tuple[int, int]] = {
    "thesis": (-1000, 500),
    "lung": (-1350, 150),
    "mediastinum": (-160, 240),
    "system4": (-1000, 400),
}
"""Name -> (lowest, highest) HU shown or fed to a network."""


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen.

    Attributes:
        summary: one line for help texts and ``lungct info``.
        module: where it lives; imported only when chosen.
        source: the paper or program it is defined by.
    """

    summary: str
    module: str
    source: str = ""


SOURCES: Mapping[str, Entry] = {
    "dlcs24": Entry(
        "NIfTI scans + DLCSD24_Annotations.csv", "lungct.sources.dlcs", "Duke Lung Cancer Screening dataset 2024"
    ),
    "volumes": Entry("a folder of NIfTI, MHD or NRRD volumes, or one of them", "lungct.sources.volumes"),
    "dicom": Entry("a folder of DICOM series", "lungct.sources.dicom_series"),
    "voc2d": Entry("2D slices with PASCAL-VOC boxes", "lungct.sources.voc2d", "Everingham 2010"),
}

VOC_CORNERS = ("centres", "inclusive", "edges")
"""What the corners of a PASCAL-VOC box stand for: 0-based pixel centres, 1-based inclusive pixels, pixel edges."""

LINKINGS = ("ios", "iou")
"""Overlap by which boxes of neighbouring slices are one nodule: over the smaller box, or over the union."""

SELECTIONS: Mapping[str, Entry] = {
    "all": Entry("every slice of the nodule's box", "lungct.ct.select"),
    "threshold": Entry("slices with at least a fraction of the nodule's peak mass", "lungct.ct.select"),
    "statistical": Entry("slices with mass >= mean - k sd of the nodule's profile", "lungct.ct.select"),
    "sliding-window": Entry("the w consecutive slices of largest total mass", "lungct.ct.select"),
}

FOUND = ("report", "resolve")
"""What an audit does with duplicates and noise: tell them, or also list what to leave out."""

DETECTORS: Mapping[str, Entry] = {
    "faster-rcnn": Entry("two stages, RoI head on proposals", "lungct.models.faster_rcnn", "Ren 2015; torchvision"),
    "retinanet": Entry("one stage, focal loss", "lungct.models.retinanet", "Lin 2017; torchvision"),
}

BACKBONES: Mapping[str, Entry] = {
    "mobilenet-v2": Entry("MobileNetV2 with FPN", "lungct.models.backbone", "Sandler 2018; torchvision"),
}

PRESETS: Mapping[str, str] = {
    "default": "Faster R-CNN, MobileNetV2-FPN at strides 4/8/16, for a GPU or an hour of CPU",
    "tiny": "narrow FPN and head, few proposals: learns in minutes on two CPU cores",
}

SCHEDULES = ("cosine", "constant")
AMP = ("auto", "off", "bf16", "fp16")
NORMS = ("batch", "group")

METHODS: Mapping[str, Entry] = {
    "eigencam": Entry(
        "first principal component of the activations", "lungct.explain.eigencam", "Muhammad & Yeasin 2020"
    ),
    "scorecam": Entry("activations weighted by the score they keep", "lungct.explain.scorecam", "Wang 2020"),
    "uniform": Entry("control: uniform random noise", "lungct.explain.controls"),
    "constant": Entry("control: the same value everywhere", "lungct.explain.controls"),
    "edges": Entry("control: gradient magnitude of the image", "lungct.explain.controls"),
    "gaussian": Entry("control: a Gaussian on the predicted box", "lungct.explain.controls"),
}
CONTROLS = ("uniform", "constant", "edges", "gaussian")

RULES: Mapping[str, Entry] = {
    "fixed": Entry("share of the top .5 % pixels inside any true box", "lungct.game.rules"),
    "adaptive": Entry("share of the top 2 x area pixels inside the true box", "lungct.game.rules"),
    "inverse-distance": Entry("1 - mean distance of the top 2.8 x area pixels to the box", "lungct.game.rules"),
}
