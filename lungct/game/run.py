"""The segmentation game from a folder of heatmaps to scores, statistics, tables and figures."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungct import registry
from lungct.game.faithfulness.estimate import estimate, rehearsed, sample_of
from lungct.game.maps import MapFile, map_files
from lungct.game.options import GameOptions
from lungct.game.parts import Parts
from lungct.game.pictures import Pictures, draw_game
from lungct.game.play import Game
from lungct.game.row import FAILED, Curve, Row, curves_csv, in_order, scores_csv
from lungct.game.summary import summarise
from lungct.game.table import latex, markdown
from lungct.game.tune import tuned_thresholds
from lungct.io.atomic import check_replaceable, staged_folder, write_bytes, write_json
from lungct.io.coco import CocoImage, CocoTruth, read_truth
from lungct.io.manifest import sha256_of, write_manifest
from lungct.types import Progress, no_progress

logger = logging.getLogger("lungct")


def segmentation_game(
    heatmaps: Path,
    truth_path: Path,
    out: Path,
    options: GameOptions,
    *,
    join: Sequence[Path] = (),
    figures: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the ``game/`` folder and return its summary.

    Args:
        join: folders of shards of this same game; what they hold is not played again.
        figures: draw them.

    Raises:
        InputError: maps and truth that cannot be read or do not fit each other; a shard of another game.
        OutputExists: ``out`` is there and ``overwrite`` is false.
        UsageError: a rule that was never published in another form, under ``thesis``.
    """
    check_replaceable(out, overwrite=overwrite, command="segmentation-game")
    truth = read_truth(truth_path)
    files = map_files(heatmaps, truth)
    images = shard_of(truth, [image for image in truth.images if image.id in files], options.shard)
    if options.validation is not None and "iou-validated" in options.played:
        options = dataclasses.replace(options, thresholds=tuned_thresholds(*options.validation, options, progress))
    game = Game.of(truth, options, files)
    settings = settings_of(truth_path, heatmaps, files, options)
    with staged_folder(out, command="segmentation-game", overwrite=overwrite, resume=resume) as folder:
        parts = Parts.open(folder, settings, join, resume=resume)
        rows, curves = _played(game, images, files, parts, progress)
        could = shard_of(truth, truth.images, options.shard)
        left_out, detected = _left_out(game, rows), _detected(files, options)
        summary = summarise(rows, options, truth, left_out, images=could, detected=detected)
        _warn(summary, rows)
        write_game(folder, rows, curves, summary)
        if figures:
            draw_game(folder, Pictures(game, files, rows, curves, summary))
        if options.shard is None:
            parts.remove()
        shard = None if options.shard is None else {"index": options.shard[0], "count": options.shard[1]}
        write_manifest(folder, "segmentation-game", settings, shard=shard)
    return summary


def _played(
    game: Game,
    images: Sequence[CocoImage],
    files: dict[int | str, list[MapFile]],
    parts: Parts,
    progress: Progress,
) -> tuple[list[Row], list[Curve]]:
    rows: list[Row] = []
    curves: list[Curve] = []
    left = [image for image in images if game.judge is not None and not parts.has(image.id)]
    first = sample_of(left)[0]
    rest = [image for image in images if image not in first]
    for number, image in enumerate([*first, *rest], 1):
        if game.judge is not None and number == 2 <= len(first):
            game.judge.spent.forget()
        if game.judge is not None and number == len(first) + 1:
            logger.warning("faithfulness will take about %s", estimate(game, rest, files, parts))
        found = parts.rows_of(image.id)
        mine = parts.keep(image.id, *game.rows_of(image, files[image.id])) if found is None else found
        rows += mine[0]
        curves += mine[1]
        progress("images scored", number, len(images))
    return in_order(rows), sorted(curves, key=lambda one: (one.kind, one.method, str(one.image_id), one.detection))


def _detected(files: Mapping[int | str, Sequence[MapFile]], options: GameOptions) -> set[str]:
    """Methods whose maps are of a detector's boxes: those of ``detections``, or in an NPZ with scores."""
    given = options.detections is not None
    return {one.method for mine in files.values() for one in mine if one.scored or (given and one.bare)}


def _left_out(game: Game, rows: Sequence[Row]) -> list[str]:
    """The controls that there should be and are not, as edges are not without an image."""
    there = {row.method for row in rows}
    return [name for name in game.beside if rows and name not in there and any(row.stratum == "TP" for row in rows)]


def _warn(summary: dict[str, Any], rows: Sequence[Row]) -> None:
    if not rows:
        logger.warning("nothing to score: the maps' files hold no detection")
    elif not summary["detections"]:
        logger.warning("nothing to average: no map is of a detection that finds a true box")
    for status, count in Counter(row.status for row in rows if row.status.startswith(FAILED)).items():
        logger.warning("%d of %d scores %s", count, len(rows), status)


def write_game(folder: Path, rows: Sequence[Row], curves: Sequence[Curve], summary: dict[str, Any]) -> None:
    """The tables of a game, into a staged folder."""
    if curves:
        write_bytes(folder / "curves.csv", curves_csv(curves), durable=False)
    write_bytes(folder / "scores.csv", scores_csv(rows), durable=False)
    write_json(folder / "summary.json", summary, indent=1)
    write_bytes(folder / "table.md", markdown(summary).encode(), durable=False)
    write_bytes(folder / "table.tex", latex(summary).encode(), durable=False)


def shard_of(truth: CocoTruth, images: Sequence[CocoImage], shard: tuple[int, int] | None) -> list[CocoImage]:
    """The images of the I-th of N shares of the truth's patients."""
    if shard is None:
        return list(images)
    patients = sorted({image.patient_id for image in truth.images})
    mine = set(patients[shard[0] :: shard[1]])
    return [image for image in images if image.patient_id in mine]


def settings_of(
    truth_path: Path, heatmaps: Path, files: dict[int | str, list[MapFile]], options: GameOptions
) -> dict[str, Any]:
    """Everything that decides a score, without a place in it: options, the truth, names and bytes of maps and masks."""
    facts = dataclasses.asdict(dataclasses.replace(options, faithfulness=None))
    facts["faithfulness"] = None if options.faithfulness is None else options.faithfulness.facts()
    del facts["shard"], facts["validation"]
    facts["names"] = list(options.played)
    for name in ("masks", "detections"):
        path = facts[name]
        facts[name] = None if path is None else digest_of(path, _files_below(path))
    paths = sorted({path for mine in files.values() for one in mine for path in one.paths.values()})
    facts |= {"maps": len(paths), "maps_digest": digest_of(heatmaps, paths)}
    return {**facts, "truth_sha256": sha256_of(truth_path)}


def _files_below(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def digest_of(root: Path, paths: Sequence[Path]) -> str:
    """Hex SHA-256 of the names, as seen from ``root``, and bytes of files."""
    lines = [f"{path.relative_to(root) if root.is_dir() else ''} {sha256_of(path)}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plan(heatmaps: Path, truth_path: Path, options: GameOptions) -> dict[str, Any]:
    """What would be scored, writing nothing.

    Raises:
        InputError: no maps, or no truth.
    """
    truth = read_truth(truth_path)
    files = map_files(heatmaps, truth)
    images = shard_of(truth, [image for image in truth.images if image.id in files], options.shard)
    beside = [*registry.CONTROLS, registry.UPPER_BOUND] if options.controls else []
    seconds = {}
    if options.faithfulness is not None:
        cost = rehearsed(Game.of(truth, options, files), images, files)
        seconds = {
            "faithfulness_processor_seconds": round(cost.processor_s, 1),
            "faithfulness_seconds": round(cost.clock_s, 1),
        }
    return {
        **seconds,
        "map_files": sum(len(one.paths) for image in images for one in files[image.id]),
        "images": len(images),
        "true_boxes": sum(not one.iscrowd for image in images for one in truth.annotations_of[image.id]),
        "rules": list(options.played),
        "controls": beside,
    }
