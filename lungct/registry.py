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
UNMEASURED_DIAMETER_MM = 10.0
"""Of a finding that nobody measured, as LUNA16's evaluation has it."""
SIZE_EDGES_MM = (4.0, 6.0, 8.0, 15.0, 30.0)
"""Where the classes of diameter begin that results are broken down by; the edges of Fleischner and Lung-RADS."""
THICKNESS_EDGES_MM = (1.0, 1.5, 2.5, 5.0)
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
        inside: an explanation method that changes or derives by activations, and so needs a fixed place to read.
        reads: what an explanation method reads of the options that only some do, and of the approximations.
    """

    summary: str
    module: str
    source: str = ""
    inside: bool = False
    reads: tuple[str, ...] = ()


SOURCES: Mapping[str, Entry] = {
    "dlcs24": Entry(
        "NIfTI scans + DLCSD24_Annotations.csv", "lungct.sources.dlcs", "Duke Lung Cancer Screening dataset 2024"
    ),
    "luna16": Entry("subset folders of MHD scans + annotations.csv", "lungct.sources.luna16", "Setio 2017"),
    "nlst": Entry(
        "NLST slices + slice CSV or Sybil JSON, or NLST scans + 3D CSV",
        "lungct.sources.nlst",
        "National Lung Screening Trial; Mikhael 2023; Tushar 2024",
    ),
    "deeplesion": Entry("Images_png + DL_info.csv", "lungct.sources.deeplesion", "Yan 2018"),
    "nrrd-pairs": Entry("NRRD slices and nodule crops of equal names + labels.csv", "lungct.sources.nrrd_pairs"),
    "coco2d": Entry("2D images with COCO boxes", "lungct.sources.coco2d", "Lin 2014"),
    "lidc": Entry("DICOM series + the readers' XML files", "lungct.sources.lidc", "LIDC-IDRI; Armato 2011"),
    "lung-pet-ct-dx": Entry(
        "DICOM slices + PASCAL-VOC XML named by SOPInstanceUID", "lungct.sources.lung_pet_ct_dx", "Li 2020, TCIA"
    ),
    "volumes": Entry("a folder of NIfTI, MHD or NRRD volumes, or one of them", "lungct.sources.volumes"),
    "dicom": Entry("a folder of DICOM series", "lungct.sources.dicom_series"),
    "voc2d": Entry(
        "images/ of 2D slices + PASCAL-VOC boxes in annotations/", "lungct.sources.voc2d", "Everingham 2010"
    ),
}

LIDC_READERS = 3
"""How many of the four readers must have drawn a nodule, as LUNA16 has it."""

MISSING_SLICES = ("refuse", "interpolate")
"""What is done with a DICOM series in which slices are missing."""

LONGEST_GAP_MM = 10.0
"""Between the two slices beside a gap that is interpolated; longer ones are refused."""

CSV_FRAMES = ("lps", "ras", "voxel")
"""What coordX, coordY, coordZ of a nodule table are: LPS mm, RAS mm, 0-based voxel indices of the file."""

VOC_CORNERS = ("centres", "inclusive", "edges")
"""What the corners of a PASCAL-VOC box stand for: 0-based pixel centres, 1-based inclusive pixels, pixel edges."""

SEARCHED = ("own", "all")
"""Slices that are searched of a scan coarser than the model's grid: those nearest to its own, or all of the grid."""

WITHIN = ("lungs", "body", "slice")
"""What of a scan's slices is searched: where its lungs are, and around them; where its body is; all."""

LINKINGS = ("ios", "iou")
"""Overlap by which boxes of neighbouring slices are one nodule: over the smaller box, or over the union."""

NODULE_SCORES = ("peak", "mean", "fused")
"""Score of a 3D nodule: best of its slices, their mean, or their sum over all slices from its first to its last."""

MIN_EXTENT_MM = 2.5
"""What the slices of a nodule, each with its slab, span at least along z: two of thin slices, one of thick ones."""

LABEL_SHAPES = ("ellipsoid", "box")
"""What a nodule is in a label volume: the ellipsoid in its box, or the box."""

LUNG_MASKS: Mapping[str, Entry] = {
    "default": Entry("air the body encloses, no airways, closed at the pleura, 3D", "lungct.ct.lung_default"),
    "threshold": Entry(
        "below -300 HU, 3 largest pieces of a slice, table left out by rows", "lungct.ct.lung_threshold"
    ),
    "watershed": Entry("flooding between markers, slice by slice", "lungct.ct.lung_watershed", "Shojaii 2005"),
}
"""A mask has 1 in the patient's right lung and 2 in the left."""

ENHANCEMENTS: Mapping[str, Mapping[str, float]] = {
    "gamma-clahe": {"gamma": 1.35, "clahe": 2.5},
    "clahe-bilateral": {"clahe": 2.5, "bilateral_hu": 100.0},
}
"""Name -> numbers of :class:`lungct.ct.enhance.Enhancement`, published for LIDC slices.

The first with these numbers; the second, for the window ``system4``, with none: they are ours.
"""

CALIBRATIONS = ("temperature", "isotonic")
"""How scores are brought to the share of detections that are true."""

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
    "fcos": Entry("one stage, no anchors", "lungct.models.fcos", "Tian 2019; torchvision"),
}

BACKBONES: Mapping[str, Entry] = {
    "mobilenet-v2": Entry("MobileNetV2 with FPN", "lungct.models.mobilenet_v2", "Sandler 2018; torchvision"),
    "resnet50": Entry("ResNet50 with FPN", "lungct.models.resnet50", "He 2016; torchvision"),
    "efficientnet-v2-s": Entry(
        "EfficientNetV2-S with FPN", "lungct.models.efficientnet_v2_s", "Tan & Le 2021; torchvision"
    ),
}

PRESETS: Mapping[str, str] = {
    "default": "Faster R-CNN, MobileNetV2-FPN at strides 4/8/16, for a GPU or an hour of CPU",
    "tiny": "narrow FPN and head, few proposals: learns in minutes on two CPU cores",
}

CLASS_LOSSES: Mapping[str, str] = {
    "auto": "the detector's own: focal, but cross-entropy for Faster R-CNN",
    "focal": "cross-entropy that plays down what is already right (Lin 2017)",
    "cross-entropy": "cross-entropy",
}
BOX_LOSSES: Mapping[str, str] = {
    "auto": "the detector's own: smooth_l1 for Faster R-CNN, l1 for RetinaNet, giou for FCOS",
    "l1": "distance of the box codes",
    "smooth_l1": "distance of the box codes, squared where it is small (Girshick 2015)",
    "giou": "generalised IoU of the decoded boxes (Rezatofighi 2019)",
    "diou": "IoU and distance of the centres (Zheng 2020)",
    "ciou": "IoU, distance of the centres and aspect (Zheng 2020)",
}

AUGMENTATIONS: Mapping[str, str] = {
    "default": "flips, scale .8 to 1.25, contrast .15, brightness .08",
    "paste": "the same, and nodules of other patients pasted into lungs",
    "strong": "wider scales, turns, shear, gamma, blur, noise, nodules of other patients pasted into lungs",
    "none": "slices and crops as they are",
    "system1-dlcs": "horizontal flip; shift, scale, rotate .05, .1, 15 degrees; tone .1; CLAHE",
    "system1-nlst": "the same and a blur of kernel 3",
    "system2": "rotation of 30 degrees, flips, zoom .2, shear .2",
    "system3": "rotation of 30 degrees and the scales of its padding and cropping; no flips",
}
"""What may happen to training slices; the numbers are in :mod:`lungct.data.augmentation`."""

SAMPLINGS: Mapping[str, str] = {
    "shuffle": "every slice once an epoch",
    "balanced": "batches of equal parts of each class, the small classes cycled until the largest was seen once",
    "curriculum": "nodules of difficulty up to .4 + epoch / 6, drawn with replacement",
    "curriculum-balanced": "equal parts of each class, of difficulty up to .35 + the share of epochs done",
}

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "warm-restarts", "plateau", "step", "constant")
AMP = ("auto", "off", "bf16", "fp16")
NORMS = ("auto", "batch", "group", "frozen", "folded")
"""``auto``: folded with pretrained weights, else batch. Frozen and folded norms keep the statistics of the weights."""

STEMS = ("mean", "repeat")
"""How the filters of a pretrained stem become those of a stack of another depth."""

STRIDES = (4, 8, 16, 32)
"""Where a pyramid can have levels; stride 4 (P2) sees the smallest nodules."""

TTA: Mapping[str, str] = {
    "none": "the slice as it is",
    "flip": "and left to right, 2 views",
    "flips": "mirrored in both directions, 4 views",
    "intensity": "darker and brighter by a tenth, 3 views",
    "full": "flips and intensity, 12 views",
}
"""Views of a slice that a detector looks at together."""

FUSE_IOU = 0.5
"""From which on boxes of two views or models are of one thing; .55 in Solovyev 2021, of larger things."""

_AT_A_LEVEL = ("level", "scorer", "target")
_ON_IMAGES = ("scorer", "target", "amp", "baseline")
_SCORE_CAM = ("level", *_ON_IMAGES, "weights", "clusters")

METHODS: Mapping[str, Entry] = {
    "odam": Entry(
        "gradient x activation at the detection's own level",
        "lungct.explain.odam",
        "Zhao & Chan 2023",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "eigencam": Entry(
        "first principal component of the activations",
        "lungct.explain.eigencam",
        "Muhammad & Yeasin 2020",
        reads=("level", "centred"),
    ),
    "scorecam": Entry(
        "activations weighted by the score they keep", "lungct.explain.scorecam", "Wang 2020", reads=_SCORE_CAM
    ),
    "sscam1": Entry(
        "Score-CAM, mean over noise on the mask",
        "lungct.explain.sscam",
        "Naidu 2020",
        reads=(*_SCORE_CAM, "samples", "preset"),
    ),
    "sscam2": Entry(
        "Score-CAM, mean over noise on the masked image",
        "lungct.explain.sscam",
        "Naidu 2020",
        reads=(*_SCORE_CAM, "samples", "preset"),
    ),
    "iscam": Entry(
        "Score-CAM, mean over masks of growing strength",
        "lungct.explain.iscam",
        "Naidu 2020",
        reads=(*_SCORE_CAM, "samples"),
    ),
    "gradcam": Entry(
        "activations weighted by their mean gradient",
        "lungct.explain.gradcam",
        "Selvaraju 2017",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "gradcampp": Entry(
        "Grad-CAM++: positive gradients, weighted",
        "lungct.explain.gradcampp",
        "Chattopadhay 2018",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "hirescam": Entry(
        "sum of gradient x activation",
        "lungct.explain.hirescam",
        "Draelos & Carin 2021",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "layercam": Entry(
        "sum of positive gradient x activation",
        "lungct.explain.layercam",
        "Jiang 2021",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "ablationcam": Entry(
        "activations weighted by the drop without them",
        "lungct.explain.ablationcam",
        "Desai & Ramaswamy 2020",
        inside=True,
        reads=_AT_A_LEVEL,
    ),
    "reciprocam": Entry(
        "the score of each cell alone",
        "lungct.explain.reciprocam",
        "Byun & Lee 2022",
        inside=True,
        reads=(*_AT_A_LEVEL, "window"),
    ),
    "drise": Entry(
        "random masks weighted by the detection they keep",
        "lungct.explain.drise",
        "Petsiuk 2021",
        reads=(*_ON_IMAGES, "masks"),
    ),
    "occlusion": Entry(
        "the drop where a patch hides the image",
        "lungct.explain.occlusion",
        "Zeiler & Fergus 2014",
        reads=(*_ON_IMAGES, "patch_mm", "stride_mm"),
    ),
    "uniform": Entry("control: uniform random noise", "lungct.explain.controls"),
    "constant": Entry("control: the same value everywhere", "lungct.explain.controls"),
    "edges": Entry("control: gradient magnitude of the image", "lungct.explain.controls"),
    "gaussian": Entry("control: a Gaussian on the predicted box", "lungct.explain.controls"),
}
CONTROLS = ("uniform", "constant", "edges", "gaussian")
DEFAULT_METHOD = "odam"

TARGETS: Mapping[str, str] = {
    "score": "the score of the detection's label",
    "logit": "what the score is made of, before the softmax or sigmoid",
    "box-x": "the centre's column, px",
    "box-y": "the centre's row, px",
    "box-w": "the box's width, px",
    "box-h": "the box's height, px",
    "thesis": "IoU (1 - (s' - s)^2), the first published target; for parity",
}
WEIGHTS: Mapping[str, str] = {
    "linear": "the rise over the baseline, falls cut",
    "softmax": "the softmax of the rises over the channels, as the paper has it",
    "prob": "the score that is kept itself, as the paper's own program has it",
}
BASELINES: Mapping[str, str] = {
    "zero": "air in a lung window",
    "mean": "the image's mean",
    "blur": "the image blurred",
    "lung": "aerated lung",
}
LUNG_HU = -850.0
"""Of aerated lung."""
BLUR_SHARE = 0.05
"""Standard deviation of the blurred baseline over the shorter side of the image."""
SSCAM_PRESETS: Mapping[str, tuple[int, float]] = {"paper": (35, 2.0), "thesis": (35, 0.1)}
"""Name -> (samples, standard deviation of the noise in units of the mask)."""
ISCAM_SAMPLES = 10
LEAST_SAMPLES = 5
DRISE_MASKS = 5000
LEAST_MASKS = 500
"""What a budget of time does not go below."""
DRISE_GRID = 16
DRISE_KEPT = 0.5
PATCH_MM = 10.0
APPROXIMATIONS: Mapping[str, str] = {
    "clusters": "Score-CAM family: channels in 32 groups of like masks, scored as one; not faithful",
    "window": "Recipro-CAM on FCOS: only the cells around the detection's own",
}
LEVELS = ("auto", "P2", "P3", "P4", "P5", "P6", "P7", "lateral")
"""Of the pyramid, by stride: P2 has 4, P3 has 8; ``auto`` is the detection's own, ``lateral`` its trunk's share."""
PER = ("detection", "class", "image")
OUTCOMES = ("tp", "fp", "fn")
UPPER_BOUND = "truth"
"""The true mask itself, scored as if it were a map: what a perfect map reaches under each rule."""

RULES: Mapping[str, Entry] = {
    "fixed": Entry("share of the top .5 % pixels inside any true nodule", "lungct.game.rules.fixed", "as published"),
    "adaptive": Entry(
        "share of the top 2 x area pixels inside the nodule", "lungct.game.rules.adaptive", "as published"
    ),
    "inverse-distance": Entry(
        "1 - mean distance of the top 2.8 x area pixels to the nodule",
        "lungct.game.rules.inverse_distance",
        "as published",
    ),
    "proximity": Entry("mean exp(-distance / diameter) of the top area pixels", "lungct.game.rules.proximity", "ours"),
    "pointing": Entry("is the brightest pixel inside the nodule?", "lungct.game.rules.pointing", "Zhang 2018"),
    "energy": Entry("share of the map's mass inside the nodule", "lungct.game.rules.energy", "Wang 2020"),
    "energy-elsewhere": Entry(
        "share of the map's mass inside other nodules; less is better", "lungct.game.rules.energy", "Wang 2020"
    ),
    "relevance-rank": Entry("share of the top area pixels inside the nodule", "lungct.game.rules.rank", "Arras 2022"),
    "top-k": Entry("share of the top 100 pixels inside the nodule", "lungct.game.rules.rank", "Theiner 2022"),
    "auprc": Entry(
        "average precision of the pixels' order", "lungct.game.rules.auprc", "Saito & Rehmsmeier 2015; Bestgen 2015"
    ),
    "iou-otsu": Entry("IoU of the map above Otsu's threshold", "lungct.game.rules.iou", "Zhou 2016; Otsu 1979"),
    "iou-validated": Entry("IoU above a threshold tuned on other data", "lungct.game.rules.iou", "Choe 2020"),
    "iou-oracle": Entry("IoU above the best threshold of each nodule: a bound", "lungct.game.rules.iou", "Choe 2020"),
    "error-mm": Entry(
        "mm from the brightest pixel to the nodule's centre; less is better", "lungct.game.rules.error_mm"
    ),
}
PUBLISHED_RULES = ("fixed", "adaptive", "inverse-distance")
"""The rules that ``--rules thesis`` knows."""
SIZE_BOUND_RULES = ("fixed", "inverse-distance", "top-k", "error-mm")
"""Rules whose normalised score depends on the nodule's size even for a map displaced by so many diameters."""
UNASKED_RULES = tuple(name for name in RULES if name not in ("iou-validated", "iou-oracle"))
"""Rules that are played where none is named: those that need no second data set and no knowledge of the answer."""
NODULE_SHAPES = ("box", "ellipse", "mask")
"""What counts as a nodule's pixels: its box, the ellipse inscribed in it, or its mask."""

FAITHFULNESS: Mapping[str, Entry] = {
    "insertion-deletion": Entry("insertion minus deletion", "lungct.game.faithfulness.curves", "Zhao & Chan 2023"),
    "insertion": Entry(
        "mean score while the hottest pixels become sharp", "lungct.game.faithfulness.curves", "Petsiuk 2018"
    ),
    "deletion": Entry(
        "mean score while the hottest pixels are deleted; less is better",
        "lungct.game.faithfulness.curves",
        "Petsiuk 2018",
    ),
    "average-drop": Entry(
        "fall of the score under the map as a mask; less is better",
        "lungct.game.faithfulness.drop",
        "Chattopadhay 2018",
    ),
    "increase": Entry(
        "share of detections whose score the mask raises", "lungct.game.faithfulness.drop", "Chattopadhay 2018"
    ),
    "road": Entry(
        "score left once the hottest pixels are imputed; less is better", "lungct.game.faithfulness.road", "Rong 2022"
    ),
    "max-sensitivity": Entry(
        "change of the map under the scanner's noise; less is better",
        "lungct.game.faithfulness.sensitivity",
        "Yeh 2019",
    ),
    "sanity-cascading": Entry(
        "likeness to maps of a network randomised from the head down; less is better",
        "lungct.game.faithfulness.sanity",
        "Adebayo 2018",
    ),
    "sanity-independent": Entry(
        "likeness to maps of networks with one stage randomised; less is better",
        "lungct.game.faithfulness.sanity",
        "Adebayo 2018",
    ),
}
"""Measures of the detector's own score, of robustness and of sanity, which need the model."""
MAP_MEASURES: Mapping[str, Entry] = {
    "sparseness": Entry("Gini index of the map", "lungct.game.rules.concentration", "Chalasani 2020"),
    "complexity": Entry("entropy of the map, nats", "lungct.game.rules.concentration", "Bhatt 2020"),
}
"""Measures of the map alone; they have neither chance nor ceiling."""
EVERY_MEASURE: Mapping[str, Entry] = {**RULES, **FAITHFULNESS, **MAP_MEASURES}
"""Everything that a map can be measured by, in the order of the tables."""
LESS_IS_BETTER = ("deletion", "average-drop", "road", "max-sensitivity", "sanity-cascading", "sanity-independent")
"""Of the measures without a chance level; the others are normalised so that more is better."""
