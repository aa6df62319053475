"""One self-contained HTML page that tells a whole run: data, training, detections, heatmaps, the segmentation game.

Everything is inside the file: no script, no font, no image and no style is fetched from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lungct import __version__, registry
from lungct.errors import InputError
from lungct.io import atomic
from lungct.report import sections, table
from lungct.report.folders import Outputs, Places, read_outputs
from lungct.report.sections import Group, Section
from lungct.types import Progress, no_progress

NOT_RUN: Mapping[str, tuple[str, str]] = {
    "slices": ("Data", "lungct select-slices"),
    "run": ("Training", "lungct train"),
    "detections": ("Detections", "lungct predict"),
    "evaluation": ("Evaluation", "lungct evaluate"),
    "heatmaps": ("Heatmaps", "lungct explain"),
    "game": ("Segmentation game", "lungct segmentation-game"),
}
"""Place -> what it is called, and the command that makes it; a comparison needs several runs and is never missing."""
TILE_RULE = "adaptive"


@dataclass(frozen=True)
class ReportOptions:
    """What can be chosen.

    Attributes:
        title: heading of the page.
        cases: hits, false alarms and missed nodules shown, of each.
    """

    title: str = "Lung nodule detection: run report"
    cases: int = 3


def write_report(
    out: Path,
    places: Places,
    options: ReportOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the report of what lies at ``places`` and return what is in it; the same bytes for the same outputs.

    Raises:
        InputError: something is there and cannot be read; or nothing is there.
        OutputExists: ``out`` is there and ``overwrite`` is false.
    """
    options = options or ReportOptions()
    atomic.check_file_replaceable(out, overwrite=overwrite, starts=b"<!DOCTYPE html>")
    if not any(places.found().values()):
        raise InputError.of(places.slices.parent, "no stage has left anything here", "run one, or name its folder")
    with atomic.atomic_file(out, overwrite=overwrite) as stream:
        outputs = read_outputs(places)
        context = _context(outputs, options, progress)
        page = _environment().get_template("report.html.jinja").render(context).encode()
        stream.write(page)
    shown = sum(len(finding.pictures) for group in context["groups"] or () for finding in group.findings)
    return {"parts": places.found(), "case_pictures": shown, "bytes": len(page)}


def _context(outputs: Outputs, options: ReportOptions, progress: Progress) -> dict[str, Any]:
    parts: dict[str, Section | None] = {
        "data": sections.data_section(outputs),
        "training": sections.training_section(outputs),
        "detection": sections.detection_section(outputs),
        "comparison": sections.comparison_section(outputs),
        "maps": sections.map_section(outputs),
        "game": sections.game_section(outputs),
    }
    groups: list[Group] | None = sections.case_groups(outputs, options.cases, progress)
    low, high = sections.window_of(outputs)
    found = outputs.places.found()
    missing = {name: named for name, named in NOT_RUN.items() if not found[name]}
    return {
        "title": options.title,
        "version": __version__,
        "tiles": _tiles(outputs),
        "runs": [_run_line(run) for run in outputs.runs],
        "missing": missing,
        "not_run": NOT_RUN,
        **parts,
        "groups": groups,
        "tested": outputs.tested,
        "explained": outputs.methods is not None,
        "window": f"{low:g} to {high:g} HU".replace("-", "\N{MINUS SIGN}"),
        "key": sections.heat_key(),
    }


def _tiles(outputs: Outputs) -> list[tuple[str, str, str]]:
    """The few numbers that stand on top: what it is, its value, what it rests on."""
    tiles = []
    if outputs.splits is not None:
        patients = len(set().union(*(table.patients_of(truth) for truth in outputs.splits.values())))
        boxes = sum(len(truth.annotations) for truth in outputs.splits.values())
        tiles.append(("Patients", f"{patients:,}", f"{boxes:,} true boxes"))
    if outputs.evaluation is not None:
        found = outputs.evaluation
        spread = table.interval((found.get("ci95") or {}).get("ap@0.5"))
        ap50 = table.number((found.get("ap") or {}).get("0.5"))
        tiles.append(("AP at IoU .5", ap50, f"95 % {spread}" if spread != table.NONE else "no interval"))
        froc = found.get("froc") or {}
        tiles.append(("FROC mean", table.number(froc.get("mean")), f"1/8 to 8 false per {froc.get('unit', 'slice')}"))
    return [*tiles, *_game_tile(outputs)]


def _game_tile(outputs: Outputs) -> list[tuple[str, str, str]]:
    """The best method of the game, beside the control that explains nothing."""
    rows = (outputs.game or {}).get("rows") or []
    scored = [row for row in rows if isinstance(row.get("normalised"), (int, float)) and row.get("rule") == TILE_RULE]
    methods = [row for row in scored if row.get("method") not in (*registry.CONTROLS, registry.UPPER_BOUND)]
    if not methods:
        return []
    best = max(methods, key=lambda row: float(row["normalised"]))
    gaussian = [table.number(row["normalised"]) for row in scored if row.get("method") == "gaussian"]
    basis = f"{best['method']}, 0 is chance" + (f"; Gaussian {gaussian[0]}" if gaussian else "")
    return [("Heat in the nodule", table.number(best["normalised"]), basis)]


def _run_line(run: Mapping[str, Any]) -> dict[str, str]:
    options = [f"{key} {table.plain(value)}" for key, value in (run.get("options") or {}).items()]
    return {
        "command": f"lungct {run.get('command', '')}",
        "version": str(run.get("version", "")),
        "options": " · ".join(options),
    }


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lungct.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
