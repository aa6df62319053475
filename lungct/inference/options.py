"""How a detector is run and what is written of what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lungct.inference.join import JoinOptions
from lungct.inference.link import LinkOptions
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.registry import AMP, FUSE_IOU, LABEL_SHAPES, MIN_EXTENT_MM, NODULE_SCORES, SEARCHED, WITHIN
from lungct.sources.pseudonym import Naming


@dataclass(frozen=True)
class ScanOutputs:
    """What is written of a scan beside the tables.

    Attributes:
        labels: one of ``LABEL_SHAPES``; None writes no label volume.
        sheets: write a contact sheet.
        dicom: write a DICOM Segmentation and report, which carry the identifiers of the series.
        lung_mask: method of ``LUNG_MASKS`` to tell the side by where no mask lies beside the scan; None tells none.
    """

    labels: str | None = LABEL_SHAPES[0]
    sheets: bool = True
    lung_mask: str | None = None
    dicom: bool = False


@dataclass(frozen=True)
class PredictOptions:
    """How a detector is run.

    Attributes:
        batch: slices per network pass, at most; on a CPU large ones go one by one.
        amp: number format of the network, one of ``AMP``.
        score_threshold: lowest score of a slice detection that is reported, or linked.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        threads: CPU threads; 0 leaves the library's choice.
        workers: scans that threads read ahead while the network runs, of a COCO file slices; 0 reads in between.
        override: run on slices that differ from the training's in spacing or HU range.
        searched: which slices of a scan are searched, one of ``SEARCHED``.
        within: which part of the slices of a scan is searched, one of ``WITHIN``; the body where no lungs are found.
        link: how slice detections of a scan become nodules.
        join: how nodules that are parts of one are joined.
        min_extent_mm: nodules whose slices span less along z are left out, but for those that the scan cuts off.
        drop_outliers: leave out slice detections that lie far from the others of their scan.
        nodule_score: which score of a nodule is its probability, one of ``NODULE_SCORES``.
        fp_rate: false positives per scan, of a COCO file per slice, at whose operating point nodules, or detections,
            are cut; None cuts at ``score_threshold`` alone.
        calibrated: bring scores to probabilities by the run's calibration.
        keep_going: leave out scans or slices that cannot be read.
        resume: take over scans that an interrupted run has finished with the same options.
        naming: how the identifiers of scans become names.
        shard: which of the scans to search; single slices are not shared out.
        outputs: what is written of a scan beside the tables.
        ensemble: further run folders whose models detect together with the first.
        tta: views of each slice, of ``registry.TTA``.
        fuse_iou: from which on boxes of two views or models are of one thing.
    """

    batch: int = 4
    amp: str = AMP[0]
    score_threshold: float = 0.05
    device: str = "auto"
    threads: int = 0
    workers: int = 0
    override: bool = False
    searched: str = SEARCHED[0]
    within: str = WITHIN[0]
    link: LinkOptions = field(default_factory=LinkOptions)
    join: JoinOptions = field(default_factory=JoinOptions)
    min_extent_mm: float = MIN_EXTENT_MM
    drop_outliers: bool = False
    nodule_score: str = NODULE_SCORES[0]
    fp_rate: float | None = None
    calibrated: bool = False
    keep_going: bool = False
    resume: bool = False
    naming: Naming = field(default_factory=Naming)
    shard: Shard = WHOLE
    outputs: ScanOutputs = field(default_factory=ScanOutputs)
    ensemble: tuple[Path, ...] = ()
    tta: str = "none"
    fuse_iou: float = FUSE_IOU


def folder_of(run: Path) -> Path:
    """Where a model's calibration and operating points lie."""
    return run if run.is_dir() else run.parent
