"""The sections of the report: tables, pictures and sentences, made from what the stages left."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lungct import registry
from lungct.io.json_lines import read_json_lines
from lungct.report import case_pictures, cases, evaluation_tables, figure, game_tables, table
from lungct.report.case_pictures import Gallery
from lungct.report.cases import Case
from lungct.report.contact_sheet import FOLDER as SHEETS
from lungct.report.flagged_maps import INDEX, flagged
from lungct.report.folders import Outputs
from lungct.report.table import Table
from lungct.types import Progress

MOST_SHEETS = 2
_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Picture:
    """An image that travels inside the page."""

    source: str
    alt: str
    caption: str = ""
    control: bool = False


@dataclass(frozen=True)
class Finding:
    """One case as it is shown: what is said of it, and its pictures, bare first."""

    heading: str
    facts: Sequence[str]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Group:
    """Cases of one kind; ``empty`` is said where there is none."""

    title: str
    note: str
    empty: str
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Section:
    """Notes, figures and tables of one stage, in this order; ``leading`` tables go before the figures."""

    tables: Sequence[Table] = ()
    figures: Sequence[Picture] = ()
    notes: Sequence[str] = field(default=())
    leading: Sequence[Table] = ()


def picture(data: bytes, suffix: str, alt: str, caption: str = "", *, control: bool = False) -> Picture:
    """Bytes of an image file as a data URI."""
    return Picture(f"data:{_KINDS[suffix]};base64,{base64.b64encode(data).decode()}", alt, caption, control)


def _drawn(draw: Callable[[Path], None], suffix: str, alt: str) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure"
        draw(path.with_suffix(suffix) if suffix == ".png" else path)
        return picture(path.with_suffix(suffix).read_bytes(), suffix, alt)


def _kept(folder: Path, names: Mapping[str, str]) -> list[Picture]:
    """The figures that a stage drew itself, as SVG where it left one: file stem -> alternative text."""
    found = []
    for stem, alt in names.items():
        for path in (folder / f"{stem}.svg", folder / f"{stem}.png"):
            if path.is_file():
                found.append(picture(path.read_bytes(), path.suffix, alt))
                break
    return found


def data_section(outputs: Outputs) -> Section | None:
    """The splits and the sizes of their boxes."""
    if outputs.splits is None:
        return None
    sizes, unit = table.box_sizes(outputs.splits)
    pooled = np.concatenate(list(sizes.values()))
    figures = []
    if len(pooled):
        alt = f"Histogram of {len(pooled)} true boxes: longest side {pooled.min():.1f} to {pooled.max():.1f} {unit}"
        alt += f", median {np.median(pooled):.1f} {unit}."
        figures = [_drawn(lambda path: figure.size_histogram(path, sizes, unit=unit), ".svg", alt)]
    shared = table.shared_patients(outputs.splits)
    said = (
        "No patient is in two splits."
        if shared == 0
        else f"Patients in more than one split: {shared}. Figures mislead."
    )
    return Section([table.data_table(outputs.splits)], figures, [said])


def training_section(outputs: Outputs) -> Section | None:
    """The curves and the model card."""
    if outputs.metrics is None and outputs.card is None:
        return None
    rows = outputs.metrics or []
    figures = []
    if rows:
        alt = f"Training loss over {len({row['epoch'] for row in rows})} epochs"
        best = max((row["val_ap50"] for row in rows if isinstance(row.get("val_ap50"), (int, float))), default=None)
        alt += "." if best is None else f", and validation AP, at IoU .5 at best {best:.3f}."
        figures = [_drawn(lambda path: figure.training_curves(path, rows), ".png", alt)]
    return Section([] if outputs.card is None else [table.card_table(outputs.card)], figures)


def detection_section(outputs: Outputs) -> Section | None:
    """The evaluation's tables and the figures that it drew."""
    if (found := outputs.evaluation) is None:
        return None
    ap50 = table.number((found.get("ap") or {}).get("0.5"))
    curve = found.get("froc") or {}
    per = f"Sensitivity over false positives per {curve.get('unit', 'slice')}"
    names = {
        "precision_recall": f"Precision over recall; AP at IoU .5 is {ap50}.",
        "froc": f"{per}; mean {table.number(curve.get('mean'))}.",
        "ap_over_iou": "Average precision and recall over the IoU that a hit must reach; the numbers are in the table.",
        "reliability": "Share of true detections over the score, and how many detections have which score.",
        "false_positives": "False positives, the most certain first: each with its surroundings.",
        "missed": "Missed boxes, those that nothing hits first: each with its surroundings.",
    }
    return Section(evaluation_tables.tables_of(found), _kept(outputs.places.evaluation, names))


def comparison_section(outputs: Outputs) -> Section | None:
    """The paired tests between runs and the figures beside them."""
    if (found := outputs.comparison) is None:
        return None
    names = ", ".join(str(one["name"]) for one in found.get("runs") or ())
    alts = {"froc": f"FROC curves of {names}.", "precision_recall": f"Precision over recall of {names}."}
    note = "Differences are taken in the same draws of patients; p is two-sided, Holm's corrected over pairs."
    tables = evaluation_tables.comparison_tables(found)
    return Section(tables, _kept(outputs.places.comparison, alts), [note])


def map_section(outputs: Outputs) -> Section | None:
    """What the maps of each method are worth by their flags, and the first patients' contact sheets."""
    found = {
        method: flagged(read_json_lines(folder / INDEX))
        for method, folder in (outputs.methods or {}).items()
        if (folder / INDEX).is_file()
    }
    if not found:
        return None
    sheets = sorted((outputs.places.heatmaps / SHEETS).glob("*.png"))
    shown = [
        picture(path.read_bytes(), ".png", f"Contact sheet {number}: detections in rows, methods in columns.")
        for number, path in enumerate(sheets[:MOST_SHEETS], 1)
    ]
    note = f"Contact sheets of {len(shown)} of {len(sheets)} patients; the others lie beside the maps." if shown else ""
    return Section([table.maps_table(found)], shown, [note] if note else [])


def game_section(outputs: Outputs) -> Section | None:
    """The game's note, leaderboard, figures and tables."""
    if (game := outputs.game) is None:
        return None
    rows = game.get("rows") or []
    alts = {
        "game": "Score of each method and rule, with interval, chance and ceiling; the numbers are in the tables.",
        "critical_difference": "Mean rank of each method under each rule; a bar joins those that do not differ.",
        "boxes": "Spread of the normalised scores over patients, by rule and method.",
        "sizes": "Normalised score over the nodule's diameter, by method.",
        "curves": "Detection score while pixels are taken away or put in, hottest first, by method.",
        "maps": "The maps of each method that scored best and worst under the rule in its heading.",
    }
    figures = _kept(outputs.places.game, alts) if rows else []
    if rows and not figures:
        figures = [_drawn(lambda path: figure.game_bars(path, rows), ".svg", alts["game"])]
    tables = game_tables.game_tables(game)
    tables += [one for one in (game_tables.ranks_table(game), game_tables.tests_table(game)) if one is not None]
    notes = [*([] if rows else ["No heatmap was scored."]), *([str(game["note"])] if game.get("note") else [])]
    return Section(tables, figures, notes, game_tables.leaderboard(game))


def case_groups(outputs: Outputs, count: int, progress: Progress) -> list[Group] | None:
    """The best hits, the worst false alarms and the missed nodules, ``count`` of each, under every method."""
    if outputs.splits is None or outputs.detections is None:
        return None
    truth = outputs.splits[outputs.tested]
    gallery = Gallery(truth, outputs.methods or {}, window_of(outputs))
    sorted_out = cases.sort_out(truth, outputs.detections)
    some = " that have a heatmap" if outputs.methods else ""
    plan: list[tuple[str, str, str, list[Case]]] = [
        ("Found", f"hits of the highest score{some}", "No true box was hit at IoU .5.", sorted_out.hits),
        (
            "False alarms",
            f"false alarms of the highest score{some}",
            "There is no false alarm.",
            sorted_out.false_alarms,
        ),
        ("Missed", "missed boxes, largest first", "No true box was missed at IoU .5.", sorted_out.missed),
    ]
    chosen = [cases.pick(found, count, explained=gallery.explained) for *_, found in plan]
    total, groups, done = sum(map(len, chosen)), [], 0
    for (title, what, empty, found), shown in zip(plan, chosen, strict=True):
        findings = []
        for number, case in enumerate(shown, 1):
            findings.append(_finding(f"{title} {number}", case, gallery))
            done += 1
            progress("draw cases", done, total)
        note = f"{len(shown)} of {len(found):,}: {what}, one per finding." if shown else ""
        groups.append(Group(title, note, empty, findings))
    return groups


def window_of(outputs: Outputs) -> tuple[float, float]:
    """The HU window that pictures are shown in: the network's own where it is known."""
    low, high = (outputs.card or {}).get("hu_window") or registry.HU_WINDOWS["system4"]
    return float(low), float(high)


def _finding(heading: str, case: Case, gallery: Gallery) -> Finding:
    said = cases.facts(case, {"diameter_mm": " mm", "malignancy": " of 5"})
    boxes = "the detection's box solid" if case.box_xyxy_px is not None else "no detection near"
    boxes += ", true boxes dashed" if len(case.true_boxes_xyxy_px) else ""
    plain = f"CT slice and the finding enlarged, {boxes}: {', '.join(said)}."
    pictures = [picture(gallery.draw(case, None), ".jpg", f"{heading}. {plain}", "CT")]
    # A missed nodule has no detection to explain; a map of the nearest one would answer another question.
    methods = gallery.methods if case.truth is None or case.iou >= cases.HIT_IOU else ()
    for method in methods:
        if (heat := gallery.heat(case, method)) is not None:
            caption = f"{method}: no map ({heat[1]})" if heat[1] else method
            alt = f"{heading}. The same under the heatmap of {caption}."
            data = gallery.draw(case, heat[0])
            pictures.append(picture(data, ".jpg", alt, caption, control=method in registry.CONTROLS))
    return Finding(heading, said, pictures)


def heat_key() -> Picture:
    """The key to the heat's colours."""
    return picture(
        case_pictures.heat_ramp(), ".png", "Colours of the heat from 0, clear, over purple and orange to 1, yellow."
    )
