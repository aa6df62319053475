"""Run a trained detector on slices (a COCO file) or on whole scans, whose slice detections become 3D nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungct.errors import InputError, LungctError, UsageError
from lungct.inference.link import FoundNodule, LinkOptions, link, write_found
from lungct.inference.model_grid import at_model_grid
from lungct.io import atomic
from lungct.io.coco import CocoTruth, read_truth, write_detections
from lungct.io.manifest import sha256_of, write_manifest
from lungct.preprocessing.input_key import said_of_scan
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.registry import FUSE_IOU
from lungct.sources.pseudonym import Naming
from lungct.types import Detections, Progress, Scan, Volume, no_progress

if TYPE_CHECKING:  # torch takes seconds to import, and a dry run needs none
    from lungct.inference.ensemble import Ensemble

SLICES_OUT = Path("detections.json")
SCANS_OUT = Path("nodules")
RECORD_SCHEMA = "lungct.found/1"
CHUNK = 8
"""Batches of slice stacks that are cut from a volume at once; bounds the memory beside the volume."""


@dataclass(frozen=True)
class PredictOptions:
    """How a detector is run.

    Attributes:
        batch: slices per network pass.
        ensemble: further run folders whose models detect together with the first.
        tta: views of each slice, of ``registry.TTA``.
        fuse_iou: from which on boxes of two views or models are of one thing.
        score_threshold: lowest score that is reported.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        threads: CPU threads; 0 leaves the library's choice.
        override: run on slices that differ from the training's in spacing or HU range.
        link: how slice detections of a scan become nodules.
        keep_going: leave out scans that cannot be read.
        naming: how the identifiers of scans become names.
        shard: which of the scans to search; single slices are not shared out.
    """

    batch: int = 4
    score_threshold: float = 0.05
    device: str = "auto"
    threads: int = 0
    override: bool = False
    link: LinkOptions = field(default_factory=LinkOptions)
    keep_going: bool = False
    naming: Naming = field(default_factory=Naming)
    shard: Shard = WHOLE
    ensemble: tuple[Path, ...] = ()
    tta: str = "none"
    fuse_iou: float = FUSE_IOU


@dataclass(frozen=True)
class PredictSummary:
    """What was run and found; None where it does not apply or, before the run, is not known."""

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
    run: Path,
    source: Path,
    out: Path | None,
    *,
    naming: Naming = Naming(),
    overwrite: bool = False,
    shard: Shard = WHOLE,
) -> PredictSummary:
    """What :func:`predict` would run on; loads no network and writes nothing.

    Raises:
        InputError: the input or the run is not what it must be.
        OutputExists: the output must not be written.
        UsageError: the output would replace the input.
    """
    if not run.exists():
        raise InputError.of(run, "no such run folder", "lungct train makes one")
    out = _checked_out(source, out, overwrite=overwrite, shard=shard)
    if is_slices(source):
        return PredictSummary(out, images=len(read_truth(source).images))
    return PredictSummary(out, scans=len(shard.part(_scans(source, naming))))


def predict(
    run: Path,
    source: Path,
    out: Path | None = None,
    options: PredictOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> PredictSummary:
    """Detect on every slice of a COCO file, or on every slice of every scan, and write what is found.

    Raises:
        InputError: the input or the run is not what it must be, or they do not fit each other.
        OutputExists: the output must not be written.
        UsageError: the output would replace the input, or a shard is asked of a COCO file.
    """
    options = options or PredictOptions()
    out = _checked_out(source, out, overwrite=overwrite, shard=options.shard)
    given = read_truth(source) if is_slices(source) else _scans(source, options.naming)

    from lungct.inference.ensemble import load_ensemble
    from lungct.models.device import use_threads

    use_threads(options.threads)
    model = load_ensemble((run, *options.ensemble), options.device, tta=options.tta, iou=options.fuse_iou)
    if isinstance(given, CocoTruth):
        return _predict_slices(model, given, out, options, progress)
    return _Scanning(model, run, options, progress).predict(given, out, overwrite=overwrite)


def _checked_out(source: Path, out: Path | None, *, overwrite: bool, shard: Shard) -> Path:
    """The output's place, after the check that it may be written."""
    if not source.exists():
        raise InputError.of(source, "no such file or folder")
    if not is_slices(source):
        out = out or SCANS_OUT
        if out.resolve() in (source.resolve(), *source.resolve().parents):
            raise UsageError(f"{out} is or holds the input", "name another folder to write")
        atomic.check_replaceable(out, overwrite=overwrite, command="predict")
        return out
    if not shard.is_whole:
        raise UsageError(f"--shard has no bearing on {source}, for it shares out scans", "leave it out")
    out = out or SLICES_OUT
    if out.resolve() == source.resolve():
        raise UsageError(f"{out} is the input", "name another file to write")
    atomic.check_file_replaceable(out, overwrite=overwrite, starts=b"[")
    return out


def _scans(source: Path, naming: Naming) -> Sequence[Scan]:
    from lungct.sources.source import SourceOptions, read_source

    contents = read_source(source, options=SourceOptions(naming=naming))
    if contents.images:
        hint = "run 'lungct preprocess' and 'lungct select-slices', and give the COCO file"
        raise InputError.of(source, "holds single 2D images, not scans", hint)
    return contents.scans


def _predict_slices(
    model: Ensemble, truth: CocoTruth, out: Path, options: PredictOptions, progress: Progress
) -> PredictSummary:
    found = model.detect_slices(
        truth,
        batch=options.batch,
        score_threshold=options.score_threshold,
        override=options.override,
        progress=progress,
    )
    kept = list(found)
    write_detections(out, kept)
    return PredictSummary(out, images=len(kept), detections=sum(map(len, kept)))


@dataclass(frozen=True)
class _Scanning:
    model: Ensemble
    run: Path
    options: PredictOptions
    progress: Progress

    def predict(self, scans: Sequence[Scan], out: Path, *, overwrite: bool) -> PredictSummary:
        kept: list[Detections] = []
        nodules: list[FoundNodule] = []
        records: list[dict[str, Any]] = []
        failed: list[str] = []
        shard = self.options.shard
        mine = shard.part(scans)
        with atomic.staged_folder(out, command="predict", overwrite=overwrite) as folder:
            for done, scan in enumerate(mine):
                self.progress("scans", done, len(mine))
                try:
                    volume = at_model_grid(scan.load(), self.model.card, scan.case_id, self.options.override)
                except LungctError as problem:
                    if not self.options.keep_going:
                        raise
                    failed.append(f"{scan.case_id}: {problem}")
                    continue
                found = self._detect(volume, scan.case_id)
                linked = link(found, volume.grid, self.options.link, case_id=scan.case_id)
                kept += found.values()
                nodules += linked
                records.append(_record(scan, volume, found, linked))
            self.progress("scans", len(mine), len(mine))
            if not records and shard.is_whole:
                raise InputError(f"every scan failed; the first: {failed[0]}")
            write_detections(folder / SLICES_OUT, kept)
            write_found(folder / "nodules.csv", nodules)
            names = ([one.case_id for one in scans], [one["case_id"] for one in records])
            facts = shard.facts(names[0], [said_of_scan(one) for one in scans], names[1])
            write_manifest(folder, "predict", self._stated(), records, shard=facts)
        images = sum(record["slices"] for record in records)
        return PredictSummary(
            out, images, sum(map(len, kept)), scans=len(records), nodules=len(nodules), failed=tuple(failed)
        )

    def _detect(self, volume: Volume, case_id: str) -> dict[int, Detections]:
        found: dict[int, Detections] = {}
        step = CHUNK * self.options.batch
        for start in range(0, len(volume.hu), step):
            indices = range(start, min(start + step, len(volume.hu)))
            marks = self.model.detect_volume(
                volume.hu,
                indices,
                ids=[f"{case_id}/{z:04d}" for z in indices],
                batch=self.options.batch,
                score_threshold=self.options.score_threshold,
            )
            found.update({z: mark for z, mark in zip(indices, marks, strict=True) if len(mark)})
            self.progress(f"slices of {case_id}", indices[-1] + 1, len(volume.hu))
        return found

    def _stated(self) -> dict[str, Any]:
        """What decides the output; not where or how fast it was computed."""
        digests = [_digest(run) for run in (self.run, *self.options.ensemble)]
        together = {"ensemble_sha256": digests[1:], "tta": self.options.tta, "fuse_iou": self.options.fuse_iou}
        return {
            "model_sha256": digests[0],
            **(together if len(digests) > 1 or self.options.tta != "none" else {}),
            "score_threshold": self.options.score_threshold,
            "override": self.options.override,
            "link": asdict(self.options.link),
        }


def _digest(run: Path) -> str:
    return sha256_of(run / "model.safetensors" if run.is_dir() else run)


def _record(scan: Scan, volume: Volume, found: dict[int, Detections], linked: Sequence[FoundNodule]) -> dict[str, Any]:
    grid = volume.grid
    return {
        "schema": RECORD_SCHEMA,
        "case_id": scan.case_id,
        "patient_id": scan.patient_id,
        "spacing_mm": list(grid.spacing_mm_zyx[::-1]),
        "origin_mm": list(grid.origin_lps_mm),
        "direction": list(grid.direction),
        "slices": len(volume.hu),
        "detections": sum(map(len, found.values())),
        "nodules": len(linked),
    }
