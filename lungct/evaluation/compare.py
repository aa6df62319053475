"""Compare runs on one truth: evaluation folders, or detections files that are judged here."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lungct.errors import InputError, UsageError
from lungct.evaluation import evaluate
from lungct.evaluation.judged import SCHEMA as METRICS_SCHEMA
from lungct.evaluation.judged import EvaluateOptions
from lungct.evaluation.measures import measures
from lungct.evaluation.paired import PairedDifference, compare_pairs
from lungct.io import atomic
from lungct.io.draws import DrawnMeasures, read_draws
from lungct.io.manifest import read_manifest, write_manifest
from lungct.report import evaluation_tables, text_tables
from lungct.types import FloatArray, Progress, no_progress

SCHEMA = "lungct.comparison/1"
HEADLINE = ("ap@0.5", "ap@0.5:0.95", "froc_mean", "sensitivity@1fp")
_TRUTH = ("truth_sha256", "excluded_sha256", "scans_sha256")


@dataclass(frozen=True, eq=False)
class Run:
    """One run to compare: its name, its metrics document, its draws, and digests of what it was judged against."""

    name: str
    metrics: Mapping[str, Any]
    draws: DrawnMeasures
    truth: tuple[str, ...]

    @property
    def values(self) -> dict[str, float]:
        """Measure of the whole -> value."""
        return {one.name: one.value for one in measures(self.metrics) if not one.subset and one.value is not None}


def compare(
    paths: Sequence[Path],
    out: Path,
    wanted: Sequence[str] = (),
    *,
    truth: Path | None = None,
    options: EvaluateOptions | None = None,
    excluded: Path | None = None,
    scans: Path | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Compare runs and write the ``comparison/`` folder; returns the document of its ``comparison.json``.

    Args:
        paths: folders that ``lungct evaluate`` wrote, or with ``truth`` detections files.
        out: folder to write.
        wanted: measures; the headline ones if empty.
        truth, options, excluded, scans: how detections files are judged.

    Raises:
        UsageError: fewer than two runs, folders and files at once, a measure that no run has.
        InputError: a folder or file that cannot be read; runs that were not judged on the same patients and truth.
        OutputExists: ``out`` must not be written.
    """
    runs = []
    for number, (name, path) in enumerate(zip(_checked(paths, out, overwrite=overwrite), paths, strict=True)):
        progress("judge runs", number, len(paths))
        if truth is None:
            runs.append(read_run(name, path))
        else:
            runs.append(judge_run(name, path, truth, options or EvaluateOptions(), excluded, scans))
    _check_same(runs)
    tests = [test for measure in _measures_of(runs, wanted) for test in _tests_of(runs, measure)]
    document = {
        "schema": SCHEMA,
        "kind": runs[0].metrics["kind"],
        "runs": [_summary(run) for run in runs],
        "tests": [asdict(test) for test in tests],
    }
    with atomic.staged_folder(out, command="compare", overwrite=overwrite) as folder:
        atomic.write_json(folder / "comparison.json", document, indent=1)
        atomic.write_bytes(folder / "comparison.csv", _as_csv(tests))
        tables = evaluation_tables.comparison_tables(document)
        atomic.write_bytes(folder / "tables.md", text_tables.markdown(tables).encode())
        atomic.write_bytes(folder / "tables.tex", text_tables.latex(tables).encode())
        for stem, draw in _figures(runs).items():
            draw(folder / stem)
        write_manifest(folder, "compare", {"runs": [run.name for run in runs], "truth_sha256": runs[0].truth[0]})
    return document


def plan_compare(
    paths: Sequence[Path],
    out: Path,
    wanted: Sequence[str] = (),
    *,
    truth: Path | None = None,
    excluded: Path | None = None,
    scans: Path | None = None,
    overwrite: bool = False,
) -> list[str]:
    """The names of the runs that :func:`compare` would compare, all of which are read; judges and writes nothing.

    Raises:
        UsageError, InputError, OutputExists: as there.
    """
    names = _checked(paths, out, overwrite=overwrite)
    if truth is None:
        runs = [read_run(name, path) for name, path in zip(names, paths, strict=True)]
        _check_same(runs)
        _measures_of(runs, wanted)
    else:
        for path in paths:
            evaluate.read(truth, path, excluded=excluded, scans=scans)
    return names


def _checked(paths: Sequence[Path], out: Path, *, overwrite: bool) -> list[str]:
    """The names of the runs, after the check that the output may be written."""
    atomic.check_replaceable(out, overwrite=overwrite, command="compare")
    if len(paths) < 2:
        raise UsageError("one run cannot be compared", "name two or more")
    return names_of(paths)


def names_of(paths: Sequence[Path]) -> list[str]:
    """A short name of each path: its last parts, as many as tell all of them apart."""
    whole = [path.resolve() for path in paths]
    parts = [path.with_suffix("").parts if path.suffix in (".json", ".csv") else path.parts for path in whole]
    if len(set(parts)) < len(parts):
        raise UsageError("a run is named twice", "name different ones")
    for count in range(1, max(map(len, parts)) + 1):
        shown = ["/".join(one[-count:]) for one in parts]
        if len(set(shown)) == len(shown):
            break
    # What all have in common at the end says nothing: a/evaluation and b/evaluation are a and b.
    while len({one.rpartition("/")[2] for one in shown}) == 1:
        shown = [one.rpartition("/")[0] for one in shown]
    return shown


def read_run(name: str, folder: Path) -> Run:
    """Read an evaluation folder.

    Raises:
        InputError: no folder that ``lungct evaluate`` wrote, or one without draws of patients.
    """
    if not folder.is_dir():
        problem = "no such folder" if not folder.exists() else "not a folder of lungct evaluate"
        raise InputError.of(folder, problem, "for detections files name their --truth")
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text("utf-8"))
        known = isinstance(metrics, dict) and metrics["schema"] == METRICS_SCHEMA
    except FileNotFoundError:
        raise InputError.of(folder, "no metrics.json in it", "was it written by lungct evaluate?") from None
    except (OSError, ValueError, KeyError) as problem:
        raise InputError.of(path, f"not readable ({type(problem).__name__})") from None
    if not known:
        raise InputError.of(path, f"not of the schema {METRICS_SCHEMA}", "evaluate again with this version")
    made = read_manifest(folder)[0]["options"]
    run = Run(name, metrics, read_draws(folder / "draws.npz"), tuple(str(made.get(key)) for key in _TRUTH))
    _check_drawn(run, folder)
    return run


def judge_run(
    name: str, detections: Path, truth: Path, options: EvaluateOptions, excluded: Path | None, scans: Path | None
) -> Run:
    """Judge a detections file.

    Raises:
        InputError: see :func:`lungct.evaluation.evaluate.read`.
    """
    result = evaluate.judge(evaluate.read(truth, detections, excluded=excluded, scans=scans), options)
    made = evaluate.digests(truth=truth, excluded=excluded, scans=scans)
    run = Run(name, result.metrics, result.draws, tuple(str(made.get(key)) for key in _TRUTH))
    _check_drawn(run, detections)
    return run


def _check_drawn(run: Run, path: Path) -> None:
    if not run.draws.values:
        problem = "no draws of patients: --bootstrap 0, or fewer than two patients"
        raise InputError.of(path, problem, "evaluate it with draws")


def _check_same(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        if run.metrics["kind"] != first.metrics["kind"]:
            raise InputError(f"{first.name} is of {first.metrics['kind']} and {run.name} of {run.metrics['kind']}")
        if run.truth != first.truth:
            raise InputError(f"{first.name} and {run.name} were judged against different truths")
        if evaluate.hit_of(run.metrics) != evaluate.hit_of(first.metrics):
            names = f"{first.name} and {run.name}"
            raise InputError(f"{names} were judged by different hits", "evaluate them with the same --hit or --iou-hit")
        if run.draws.paired_by != first.draws.paired_by:
            hint = "evaluate them with the same --seed and --bootstrap, and scans with --scans"
            raise InputError(f"{first.name} and {run.name} were judged by different draws of patients", hint)


def _measures_of(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    common = [
        name for name in runs[0].draws.values if all(name in run.draws.values and name in run.values for run in runs)
    ]
    unknown = [name for name in wanted if name not in common]
    if unknown:
        raise UsageError(f"no draws of the measure {unknown[0]!r}", f"there are {', '.join(common)}")
    return list(dict.fromkeys(wanted)) or [name for name in HEADLINE if name in common]


def _tests_of(runs: Sequence[Run], measure: str) -> list[PairedDifference]:
    values = {run.name: run.values[measure] for run in runs}
    return compare_pairs(measure, values, {run.name: run.draws.values[measure] for run in runs})


def _summary(run: Run) -> dict[str, Any]:
    drawn = {name: run.values[name] for name in run.draws.values if name in run.values}
    return {"name": run.name, "values": drawn, "ci95": {name: run.metrics["ci95"].get(name) for name in drawn}}


def _as_csv(tests: Sequence[PairedDifference]) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("measure", "a", "b", "value_a", "value_b", "difference", "low95", "high95", "p", "p_holm"))
    for one in tests:
        writer.writerow(
            (one.measure, one.a, one.b, one.value_a, one.value_b, one.difference, *one.ci95, one.p, one.p_holm)
        )
    return stream.getvalue().encode()


def _figures(runs: Sequence[Run]) -> dict[str, Callable[[Path], None]]:
    from lungct.report import evaluation_figures

    froc = {
        f"{run.name}, {run.metrics['froc']['mean']:.3f}": _curve(run.metrics["froc"], "fp_per_image", "sensitivity")
        for run in runs
    }
    unit = runs[0].metrics["froc"]["unit"]
    figures: dict[str, Callable[[Path], None]] = {
        "froc": functools.partial(evaluation_figures.froc_curves, curves=froc, unit=unit)
    }
    if runs[0].metrics["kind"] == "slices":
        curves = {
            f"{run.name}, AP {run.metrics['ap']['0.5']:.3f}": _curve(run.metrics["pr50"], "recall", "precision")
            for run in runs
        }
        figures["precision_recall"] = functools.partial(evaluation_figures.precision_recall, curves=curves)
    return figures


def _curve(part: Mapping[str, Any], x: str, y: str) -> tuple[FloatArray, FloatArray]:
    return np.asarray(part[x], dtype=np.float64), np.asarray(part[y], dtype=np.float64)
