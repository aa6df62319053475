"""Raw scans or slices of any known layout -> one folder in our layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lungct.ct.enhance import Enhancement
from lungct.errors import UsageError
from lungct.io.atomic import check_replaceable, staged_folder
from lungct.io.manifest import files_of, write_manifest
from lungct.preprocessing.cases import Ledger, Running
from lungct.preprocessing.images import SLICES, write_images
from lungct.preprocessing.input_key import said_of_image, said_of_scan
from lungct.preprocessing.scans import VolumeOptions, write_scans
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.registry import HU_CLIP
from lungct.sources.source import Contents, SourceOptions, read_source


@dataclass(frozen=True)
class PreprocessOptions:
    """How scans become alike.

    Attributes:
        source: name of the layout; None finds it.
        volume: grid of the output; has no bearing on 2D sources.
        hu_clip: lowest and highest HU kept; the window of the enhancement.
        enhancement: what is done to every slice after clipping.
        size_2d: width and height that the images of 2D sources are brought to; None keeps theirs.
        reading: what 2D files do not say.
    """

    source: str | None = None
    volume: VolumeOptions = field(default_factory=VolumeOptions)
    hu_clip: tuple[int, int] = HU_CLIP
    enhancement: Enhancement = field(default_factory=Enhancement)
    size_2d: tuple[int, int] | None = None
    reading: SourceOptions = field(default_factory=SourceOptions)

    def record(self, source: str) -> dict[str, Any]:
        """JSON-ready, for the manifest; the secret behind the pseudonyms is not in it."""
        stated = {**asdict(self), "source": source}
        del stated["reading"]["naming"]["key"]
        return stated


@dataclass(frozen=True)
class PreprocessSummary:
    """What was found and written."""

    source: str
    scans: int = 0
    images: int = 0
    nodules: int = 0
    nodule_free: int = 0
    failed: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """JSON-ready, without the failures."""
        return {key: value for key, value in asdict(self).items() if key != "failed"}


def plan_preprocess(
    source: Path, out: Path, options: PreprocessOptions, *, overwrite: bool = False, shard: Shard = WHOLE
) -> PreprocessSummary:
    """What :func:`preprocess` would do; reads headers and tables, writes nothing.

    Raises:
        InputError: see :func:`lungct.sources.source.read_source`.
        UsageError: an option for volumes on a source of images, or the other way round.
        OutputExists: ``out`` is there.
    """
    check_replaceable(out, overwrite=overwrite, command="preprocess")
    contents = read_source(source, options.source, options.reading)
    _check_kind(contents, options)
    scans, images = shard.part(contents.scans), shard.part(contents.images)
    return PreprocessSummary(
        contents.name,
        scans=len(scans),
        images=len(images),
        nodules=sum(len(scan.nodules) for scan in scans) + sum(len(image.boxes_xyxy_px) for image in images),
        nodule_free=sum(scan.truth_known and not scan.nodules for scan in scans),
    )


def preprocess(
    source: Path, out: Path, options: PreprocessOptions = PreprocessOptions(), running: Running = Running()
) -> PreprocessSummary:
    """Reorient, resample and clip every scan of a source (2D sources: gray to HU), and write boxes and manifest.

    With a shard, those of its patients; :func:`lungct.preprocessing.merge.merge` makes one folder of all shards.

    Raises:
        InputError: the source or one of its files is not what it must be.
        UsageError: an option for volumes on a source of images, or the other way round.
        OutputExists: ``out`` is there and ``running.overwrite`` is false.
    """
    check_replaceable(out, overwrite=running.overwrite, command="preprocess")
    contents = read_source(source, options.source, options.reading)
    _check_kind(contents, options)
    stated = options.record(contents.name)
    with staged_folder(out, command="preprocess", overwrite=running.overwrite, resume=running.resume) as staging:
        ledger = Ledger.of(staging, stated)
        summary, records, tables = _write(contents, ledger, options, running)
        ledger.close([*tables, *(name for record in records for name in files_of(record))])
        write_manifest(staging, "preprocess", stated, records, shard=_shard_facts(contents, records, running.shard))
    return summary


def _shard_facts(contents: Contents, records: list[dict[str, Any]], shard: Shard) -> dict[str, Any] | None:
    if contents.images:
        names = [image.image_id for image in contents.images]
        return shard.facts(names, [said_of_image(one) for one in contents.images], [one["image_id"] for one in records])
    names = [scan.case_id for scan in contents.scans]
    return shard.facts(names, [said_of_scan(one) for one in contents.scans], [one["case_id"] for one in records])


def _check_kind(contents: Contents, options: PreprocessOptions) -> None:
    if contents.images and options.volume.lungs.wanted:
        raise UsageError(
            f"lungs are found in volumes; {contents.name} has 2D images", "leave out the options for lungs"
        )
    if contents.scans and options.size_2d is not None:
        raise UsageError(f"a 2D size is for 2D images; {contents.name} has volumes", "use --spacing instead")


def _write(
    contents: Contents, ledger: Ledger, options: PreprocessOptions, running: Running
) -> tuple[PreprocessSummary, list[dict[str, Any]], list[str]]:
    if contents.images:
        tables = [SLICES]
        outcome, boxes = write_images(
            ledger, contents.images, options.hu_clip, running, enhancement=options.enhancement, size_xy=options.size_2d
        )
        summary = PreprocessSummary(
            contents.name, images=len(outcome.records), nodules=boxes, failed=tuple(outcome.failed)
        )
    else:
        mine = running.shard.part(contents.scans)
        outcome, tables = write_scans(
            ledger,
            mine,
            options.volume,
            options.hu_clip,
            running,
            enhancement=options.enhancement,
            csv_frame=options.reading.csv_frame,
        )
        summary = PreprocessSummary(
            contents.name,
            scans=len(outcome.records),
            nodules=sum(record["nodules"] for record in outcome.records),
            nodule_free=sum(record["truth_known"] and not record["nodules"] for record in outcome.records),
            failed=tuple(outcome.failed),
        )
    return summary, list(outcome.records), tables
