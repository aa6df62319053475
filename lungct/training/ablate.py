"""A grid of runs, one after another: each trained, run on one truth and judged, and all compared in one table."""

from __future__ import annotations

import csv
import io
import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungct.errors import InputError, OutputExists, UsageError
from lungct.evaluation.compare import compare
from lungct.evaluation.evaluate import evaluate
from lungct.evaluation.judged import EvaluateOptions
from lungct.inference.predict import PredictOptions, predict
from lungct.io import atomic
from lungct.io.manifest import read_manifest, sha256_of
from lungct.training.ablation_plan import AblationPlan, PlannedRun
from lungct.training.options import NAMED_WEIGHTS, Execution
from lungct.training.setup import learned_from, read_splits
from lungct.training.train import train
from lungct.types import Progress, no_progress

RUNS, DETECTIONS, EVALUATIONS, COMPARISON = "runs", "detections", "evaluations", "comparison"
TABLE = "ablation"
JUDGING = "judging.json"
JUDGED_BY = ("score_threshold", "tta", "bootstrap", "seed")
logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class _Places:
    """Where the parts of a run stand."""

    out: Path
    name: str

    @property
    def run(self) -> Path:
        return self.out / RUNS / self.name

    @property
    def detections(self) -> Path:
        return self.out / DETECTIONS / f"{self.name}.json"

    @property
    def evaluation(self) -> Path:
        return self.out / EVALUATIONS / self.name


def ablate(
    plan: AblationPlan,
    out: Path,
    *,
    execution: Execution | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Carry out a plan; returns the rows of its table and the tests.

    Each run is a run folder as of ``lungct train``. With ``resume`` what is done is left as it is, and a run that was
    cut off goes on; with ``overwrite`` all is done anew.

    Raises:
        OutputExists: ``out`` holds something, and neither is asked for; or another process is writing a part of it.
        UsageError: a run of ``out`` was made or judged with other options or files than the plan says.
        InputError, EnvironmentError_: as of the stages.
    """
    if out.exists() and any(out.iterdir()) and not (overwrite or resume):
        raise OutputExists(f"{out} exists and is not empty", "add --resume to go on, or --overwrite to begin anew")
    execution = execution or Execution()
    _check_inputs(plan)
    judging = _judging(plan, out / JUDGING, overwrite=overwrite)
    for number, planned in enumerate(plan.runs):
        progress("runs", number, len(plan.runs))
        logger.info("run %d of %d: %s", number + 1, len(plan.runs), planned.name)
        _train(planned, _Places(out, planned.name), execution, overwrite=overwrite, progress=progress)
        atomic.write_json(out / JUDGING, judging, indent=1)
        _judge(plan, _Places(out, planned.name), execution, overwrite=overwrite, progress=progress)
    progress("runs", len(plan.runs), len(plan.runs))
    document: dict[str, Any] = {"runs": [], "tests": []}
    if len(plan.runs) > 1:
        folders = [_Places(out, one.name).evaluation for one in plan.runs]
        document = compare(folders, out / COMPARISON, plan.measures, overwrite=True, progress=progress)
    rows = table_of(plan, out, document)
    atomic.write_bytes(out / f"{TABLE}.csv", _as_csv(rows))
    return {"rows": rows, "tests": document["tests"]}


def _check_inputs(plan: AblationPlan) -> None:
    """Find out before the first run begins whether the last one has what it learns from."""
    for slices in dict.fromkeys(one.slices for one in plan.runs):
        read_splits(slices)
    for planned in plan.runs:
        weights = planned.options.weights
        if weights not in NAMED_WEIGHTS and not Path(weights).exists():
            raise InputError.of(weights, "no such file or run folder", f"the run {planned.name} begins with it")


def _train(planned: PlannedRun, places: _Places, execution: Execution, *, overwrite: bool, progress: Progress) -> None:
    if places.run.is_dir() and not overwrite:
        _check_same(planned, places.run)
        return
    begun = atomic.staging_of(places.run).exists()
    train(
        planned.slices,
        places.run,
        planned.options,
        execution=execution,
        overwrite=overwrite,
        resume=begun and not overwrite,
        progress=progress,
    )


def _check_same(planned: PlannedRun, run: Path) -> None:
    slices = learned_from(read_splits(planned.slices), planned.options)
    _refuse_changed(run, read_manifest(run)[0]["options"], {**planned.options.record(), "slices": slices}, "made")


def _judging(plan: AblationPlan, path: Path, *, overwrite: bool) -> dict[str, Any]:
    """How all runs are judged; evaluations that are there already must have been judged so, as ``path`` tells."""
    if not plan.truth.is_file():
        raise InputError.of(plan.truth, "no such file", "name the COCO file to judge by in [evaluate] truth")
    wanted = {"truth_sha256": sha256_of(plan.truth), **{name: getattr(plan, name) for name in JUDGED_BY}}
    if path.is_file() and not overwrite:
        _refuse_changed(path.parent, json.loads(path.read_text("utf-8")), wanted, "judged")
    return wanted


def _refuse_changed(place: Path, before: Mapping[str, Any], options: Mapping[str, Any], verb: str) -> None:
    wanted = json.loads(json.dumps(options))
    changed = [f"{key} was {before.get(key)}, is {value}" for key, value in wanted.items() if before.get(key) != value]
    if changed:
        raise UsageError(f"{place} was {verb} with other options: {'; '.join(changed)}", "name another folder to write")


def _judge(plan: AblationPlan, places: _Places, execution: Execution, *, overwrite: bool, progress: Progress) -> None:
    if places.evaluation.is_dir() and not overwrite:
        return
    options = PredictOptions(
        score_threshold=plan.score_threshold, device=execution.device, threads=execution.threads, tta=plan.tta
    )
    predict(places.run, plan.truth, places.detections, options, overwrite=True, progress=progress)
    judged = EvaluateOptions(bootstrap=plan.bootstrap, seed=plan.seed)
    evaluate(plan.truth, places.detections, places.evaluation, judged, overwrite=overwrite)


def table_of(plan: AblationPlan, out: Path, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per run: its factors, epochs, and the measures that were tested with their 95 % intervals by patient."""
    tested = list(dict.fromkeys(test["measure"] for test in document["tests"]))
    found = {one["name"]: one for one in document["runs"]}
    rows = []
    for planned in plan.runs:
        trained = read_manifest(_Places(out, planned.name).run)[-1]
        row: dict[str, Any] = {"run": planned.name, **planned.factors}
        row |= {"parameters": trained["parameters"], "best_epoch": trained["best_epoch"]}
        judged = found.get(planned.name) or _alone(out, planned.name)
        for measure in tested or judged["values"]:
            low, high = judged["ci95"].get(measure) or (None, None)
            row |= {measure: judged["values"].get(measure), f"{measure} low95": low, f"{measure} high95": high}
        rows.append(row)
    return rows


def _alone(out: Path, name: str) -> dict[str, Any]:
    metrics = json.loads((_Places(out, name).evaluation / "metrics.json").read_text("utf-8"))
    return {"values": {f"ap@{iou}": value for iou, value in metrics["ap"].items()}, "ci95": metrics["ci95"]}


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def commands_of(plan: AblationPlan, out: Path, execution: Execution) -> list[str]:
    """The plan as lines for the shell: training, prediction and evaluation of a run in one line, then the comparison.

    The lines of the runs do not depend on each other; the last one needs them all.
    """
    how = ["--device", execution.device, "--threads", str(execution.threads)]
    lines = []
    for planned in plan.runs:
        places = _Places(out, planned.name)
        flags = [word for key, value in planned.given.items() for word in _flag(key, value)]
        workers = ["--workers", str(execution.workers)]
        steps: list[list[Any]] = [
            ["lungct", "train", planned.slices, places.run, *flags, *how, *workers],
            ["lungct", "predict", places.run, plan.truth, places.detections],
            ["lungct", "evaluate", plan.truth, places.detections, places.evaluation],
        ]
        steps[1] += ["--score-threshold", plan.score_threshold, "--tta", plan.tta, *how]
        steps[2] += ["--bootstrap", plan.bootstrap, "--seed", plan.seed]
        lines.append(" && ".join(shlex.join(map(str, step)) for step in steps))
    if len(plan.runs) > 1:
        measures = [word for one in plan.measures for word in ("--measure", one)]
        folders = [_Places(out, one.name).evaluation for one in plan.runs]
        lines.append(shlex.join(map(str, ["lungct", "compare", *folders, "--out", out / COMPARISON, *measures])))
    return lines


def _flag(key: str, value: Any) -> list[str]:
    flag = f"--{key.removesuffix('_px').replace('_', '-')}"
    if not isinstance(value, bool):
        return [flag, str(value)]
    other = {"--channels-last": "--channels-first"}.get(flag, f"--no-{flag[2:]}")
    return [flag if value else other]
