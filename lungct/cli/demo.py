"""Run the whole chain on synthetic scans.

From phantom to report, each step is one of the other commands; its command line is shown, so that the same can be
typed on real data. Figures are of held-out patients. --quick is the shortest honest version: fewer patients, fewer
epochs, lower numbers.

Example: lungct demo demo/
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import app, options, streams
from lungct.cli.result import Result, Table

METHODS = ["eigencam", "scorecam"]


@dataclass(frozen=True)
class Scale:
    """How large a demo is: phantom size and number, training length, slices explained."""

    patients: int
    size: int
    slices: int
    epochs: int
    explained: int


FULL = Scale(patients=24, size=256, slices=120, epochs=15, explained=30)
QUICK = Scale(patients=8, size=160, slices=60, epochs=6, explained=8)
MEDIAN_DIAMETER_MM = 14.0
"""Larger than in screening (8), so that a few minutes of training on a coarse matrix have something to find."""


def run(
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="The shortest honest version, for tests.")] = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Run each step in turn, or leave out those that are done under --resume."""
    scale = QUICK if quick else FULL
    chosen: dict[str, Any] = {"seed": seed, "device": device, "threads": threads}
    if dry_run:
        lines = [f"lungct {step.line}" for step in _steps(out, out, scale, **chosen)]
        return Result(data={"steps": lines}, tables=[Table(["step", "command"], list(enumerate(lines, 1)))])
    from lungct.io.atomic import staged_folder
    from lungct.io.manifest import write_manifest

    with staged_folder(out, command="demo", overwrite=overwrite, resume=resume) as staging:
        _check_same(staging / "demo.json", {"quick": quick, "seed": seed})
        data, tables = _run_all(_steps(staging, out, scale, **chosen))
        write_manifest(staging, "demo", {"quick": quick, "seed": seed})
    return Result(output=out / "report.html", data=data, tables=tables)


def _check_same(marker: Path, chosen: dict[str, Any]) -> None:
    """Keep what a demo was started with, and refuse to go on with another one's leftovers."""
    from lungct.errors import UsageError
    from lungct.io.atomic import write_json

    if marker.is_file() and json.loads(marker.read_text()) != chosen:
        raise UsageError(f"the demo to resume was started with {marker.read_text().strip()}", "leave out --resume")
    write_json(marker, chosen)


def _run_all(steps: list[Step]) -> tuple[dict[str, Any], list[Table]]:
    data: dict[str, Any] = {"seconds": {}}
    tables: list[Table] = []
    for number, step in enumerate(steps, 1):
        if step.product.exists():
            streams.say(f"[{number}/{len(steps)}] done before: lungct {step.line}")
            continue
        streams.say(f"[{number}/{len(steps)}] lungct {step.line}")
        started = time.perf_counter()
        result = step.run()
        data["seconds"][step.line] = round(time.perf_counter() - started, 1)
        if step.verb in ("evaluate", "segmentation-game"):
            data[step.verb] = result.data
            tables += result.tables
    return data, tables


@dataclass(frozen=True)
class Step:
    """One command of the chain: how it is typed, how it is called, what it leaves."""

    verb: str
    line: str
    run: Callable[[], Result]
    product: Path


def _steps(folder: Path, shown: Path, scale: Scale, *, seed: int, device: str, threads: int) -> list[Step]:
    """The chain in ``folder``; its command lines are shown as if typed for the folder ``shown``."""
    torch_options = {"device": device, "threads": threads}
    cohort = {"patients": scale.patients, "size": scale.size, "slices": scale.slices}
    phantom = {**cohort, "median_diameter": MEDIAN_DIAMETER_MM, "seed": seed, "workers": 2}
    select = {"method": "all", "negatives": 4, "seed": seed, "workers": 2}
    train = {"preset": "tiny", "magnify": 2.0, "epochs": scale.epochs, "validate_every": (scale.epochs + 1) // 2}
    train |= {"seed": seed, **torch_options}
    explain = {"max_images": scale.explained, "seed": seed, **torch_options}
    plan: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("phantom", ["dlcs"], "dlcs", phantom),
        ("preprocess", ["dlcs", "out"], "out", {"spacing": "native", "workers": 2}),
        ("select-slices", ["out", "slices"], "slices", select),
        ("train", ["slices", "run"], "run", train),
        ("predict", ["run", "slices/test.json", "detections.json"], "detections.json", torch_options),
        ("evaluate", ["slices/test.json", "detections.json", "evaluation"], "evaluation", {"seed": seed}),
        *(
            ("explain", ["run", "slices/test.json", "heatmaps"], f"heatmaps/{method}", {"method": [method], **explain})
            for method in METHODS
        ),
        ("segmentation-game", ["heatmaps", "slices/test.json", "game"], "game", {"seed": seed}),
        ("report", ["", "report.html"], "report.html", {}),
    ]
    return [_step(folder, shown, *row) for row in plan]


def _step(folder: Path, shown: Path, verb: str, names: list[str], product: str, chosen: dict[str, Any]) -> Step:
    flags = [f"--{key.replace('_', '-')} {one}" for key, value in chosen.items() for one in _as_list(value)]
    line = " ".join([verb, *(str(shown / name) for name in names), *flags])
    arguments = [folder / name for name in names]

    def run_verb() -> Result:
        result: Result = app.verb_module(verb).run(*arguments, **chosen)
        return result

    return Step(verb, line, run_verb, folder / product)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
