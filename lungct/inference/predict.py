"""Run a trained detector on slices (a COCO file) or on whole scans, whose slice detections become 3D nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungct.errors import InputError, UsageError
from lungct.inference.options import PredictOptions, ScanOutputs
from lungct.inference.scoring import FLAGS, OF_SCANS, Scoring, scoring_of
from lungct.io import atomic
from lungct.io.coco import CocoTruth, read_truth, write_detections
from lungct.io.manifest import sha256_of
from lungct.io.weights_header import weights_of
from lungct.sources.pseudonym import Naming
from lungct.types import Progress, Scan, no_progress

if TYPE_CHECKING:  # torch takes seconds to import, and a dry run needs none
    from lungct.inference.ensemble import Ensemble

__all__ = ["PredictOptions", "PredictSummary", "ScanOutputs", "plan_predict", "predict"]

SLICES_OUT = Path("detections.json")
SCANS_OUT = Path("nodules")
OUTPUT_FLAGS = {"labels": "--labels", "sheets": "--no-sheets", "dicom": "--dicom", "lung_mask": "--lung-mask"}
"""Of what :class:`ScanOutputs` holds, the flag that says it."""
LUNGS = "lungs"
"""Where ``lungct preprocess`` puts lung masks beside the scans."""


@dataclass(frozen=True)
class PredictSummary:
    """What was run and found; None where it does not apply or, before the run, is not known.

    Attributes:
        images: slices that the network saw.
    """

    output: Path
    images: int | None = None
    detections: int | None = None
    scans: int | None = None
    nodules: int | None = None
    failed: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """JSON-ready: what applies, without path and failures."""
        known = {"images": self.images, "detections": self.detections, "scans": self.scans, "nodules": self.nodules}
        return {name: value for name, value in known.items() if value is not None}


def is_slices(path: Path) -> bool:
    """Whether the input is a COCO file, by its name; anything else is a scan or a folder of scans."""
    return path.suffix.lower() == ".json"


def plan_predict(
    run: Path, source: Path, out: Path | None, options: PredictOptions | None = None, *, overwrite: bool = False
) -> PredictSummary:
    """What :func:`predict` would run on; loads no network and writes nothing.

    Raises:
        InputError: the input or the run is not what it must be.
        OutputExists: the output must not be written.
        UsageError: the output would replace the input.
    """
    options = options or PredictOptions()
    if not run.exists():
        raise InputError.of(run, "no such run folder", "lungct train makes one")
    out = _checked_out(source, out, options, overwrite=overwrite)
    scoring_of(run, options, unit="slice" if is_slices(source) else "scan")
    if is_slices(source):
        return PredictSummary(out, images=len(read_truth(source).images))
    return PredictSummary(out, scans=len(options.shard.part(_scans(source, options.naming))))


def predict(
    run: Path,
    source: Path,
    out: Path | None = None,
    options: PredictOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> PredictSummary:
    """Detect on every slice of a COCO file, or on the slices of every scan that ``options`` have searched, and write.

    Raises:
        InputError: the input or the run is not what it must be, or they do not fit each other.
        OutputExists: the output must not be written.
        UsageError: the output would replace the input, or what is asked does nothing here.
    """
    options = options or PredictOptions()
    out = _checked_out(source, out, options, overwrite=overwrite)
    given = read_truth(source) if is_slices(source) else _scans(source, options.naming)
    scoring = scoring_of(run, options, unit="slice" if is_slices(source) else "scan")

    from lungct.inference.ensemble import load_ensemble
    from lungct.models.device import amp_dtype, use_threads

    use_threads(options.threads)
    model = load_ensemble((run, *options.ensemble), options.device, tta=options.tta, iou=options.fuse_iou)
    amp_dtype(options.amp, model.models[0].device)  # a format that the device has not is refused before any work
    if isinstance(given, CocoTruth):
        return _predict_slices(model, given, out, options, scoring, progress)
    return _predict_scans(model, given, _Place(run, source, out, overwrite), options, scoring, progress)


@dataclass(frozen=True)
class _Place:
    run: Path
    source: Path
    out: Path
    overwrite: bool


def _checked_out(source: Path, out: Path | None, options: PredictOptions, *, overwrite: bool) -> Path:
    """The output's place, after the check that it may be written."""
    if not source.exists():
        raise InputError.of(source, "no such file or folder")
    _check_of_use(options)
    if not is_slices(source):
        out = out or SCANS_OUT
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise UsageError(f"{out} is or holds the input", "name another folder to write")
        atomic.check_replaceable(out, overwrite=overwrite, command="predict")
        return out
    _check_of_slices(source, options)
    out = out or SLICES_OUT
    if out.resolve() == source.resolve():
        raise UsageError(f"{out} is the input", "name another file to write")
    atomic.check_file_replaceable(out, overwrite=overwrite, starts=b"[")
    return out


def _check_of_use(options: PredictOptions) -> None:
    """Refuse what does nothing without another option."""
    plain = PredictOptions()
    if options.fuse_iou != plain.fuse_iou and options.tta == "none" and not options.ensemble:
        raise UsageError("--fuse-iou does nothing where one model looks once", "add --tta or --ensemble")
    if not options.join.overlap and options.join.gap_mm != plain.join.gap_mm:
        raise UsageError("--join-gap-mm does nothing with --join-overlap 0, which joins none", "leave one of them out")


def _check_of_slices(source: Path, options: PredictOptions) -> None:
    """Refuse what only scans have a use for."""
    if not options.shard.is_whole:
        raise UsageError(f"--shard has no bearing on {source}, for it shares out scans", "leave it out")
    if options.resume:
        raise UsageError(f"--resume has no bearing on {source}, for it takes over scans", "leave it out")
    plain = PredictOptions()
    given = [FLAGS[name] for name in OF_SCANS if getattr(options, name) != getattr(plain, name)]
    for name, flag in OUTPUT_FLAGS.items():
        if getattr(options.outputs, name) != getattr(plain.outputs, name):
            given.append(flag)
    if options.naming != plain.naming:
        given.append("--keep-ids or --key-file")
    if given:
        raise UsageError(f"{given[0]} has no bearing on {source}, for it is of whole scans", "leave it out")


def _scans(source: Path, naming: Naming) -> Sequence[Scan]:
    from lungct.sources.source import SourceOptions, read_source

    contents = read_source(source, options=SourceOptions(naming=naming))
    if contents.images:
        hint = "run 'lungct preprocess' and 'lungct select-slices', and give the COCO file"
        raise InputError.of(source, "holds single 2D images, not scans", hint)
    return contents.scans


def _predict_slices(
    model: Ensemble, truth: CocoTruth, out: Path, options: PredictOptions, scoring: Scoring, progress: Progress
) -> PredictSummary:
    failed: list[str] = []
    found = model.detect_slices(
        truth,
        batch=options.batch,
        score_threshold=options.score_threshold,
        override=options.override,
        amp=options.amp,
        workers=options.workers,
        failed=failed if options.keep_going else None,
        progress=progress,
    )
    kept = [scoring.shown(scoring.at_least(one)) for one in found]
    if failed and not kept:
        raise InputError(f"every slice failed; the first: {failed[0]}")
    write_detections(out, kept)
    return PredictSummary(out, images=len(kept), detections=sum(map(len, kept)), failed=tuple(failed))


def _predict_scans(
    model: Ensemble,
    scans: Sequence[Scan],
    place: _Place,
    options: PredictOptions,
    scoring: Scoring,
    progress: Progress,
) -> PredictSummary:
    from lungct.inference.scans import ScanSearch

    stated = _stated(place.run, options, scoring)
    lungs = (place.source if place.source.is_dir() else place.source.parent) / LUNGS
    search = ScanSearch(model, options, scoring, lungs, stated, progress)
    found = search.run(scans, place.out, overwrite=place.overwrite)
    return PredictSummary(
        place.out, found.slices, found.detections, scans=len(found.scans), nodules=found.nodules, failed=found.failed
    )


def _stated(run: Path, options: PredictOptions, scoring: Scoring) -> dict[str, Any]:
    """What decides the output; not where or how fast it was computed."""
    digests = [sha256_of(weights_of(one)) for one in (run, *options.ensemble)]
    together = {"ensemble_sha256": digests[1:], "tta": options.tta, "fuse_iou": options.fuse_iou}
    return {
        "model_sha256": digests[0],
        **(together if len(digests) > 1 or options.tta != "none" else {}),
        "amp": options.amp,
        "score_threshold": options.score_threshold,
        "override": options.override,
        "searched": options.searched,
        "within": options.within,
        "link": asdict(options.link),
        "join": asdict(options.join),
        "min_extent_mm": options.min_extent_mm,
        "drop_outliers": options.drop_outliers,
        "nodule_score": options.nodule_score,
        "scoring": asdict(scoring),
        "outputs": asdict(options.outputs),
    }
