"""Train a grid of runs and compare them.

PLAN is a TOML file: [train] holds options of lungct train for all runs, [grid] lists of values, whose combinations are
the runs (slices is one of its keys); [predict] may hold score_threshold and tta, [evaluate] truth, bootstrap, seed and
measures. Every run is a run folder under OUT/runs, judged on one truth, and OUT/comparison has intervals by patient and
paired tests (Efron & Tibshirani 1993; Holm 1979). With --print-commands the shell can do it instead.

Example: lungct ablate plan.toml ablation/ --resume
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table


def run(
    plan: Annotated[Path, options.input_path("TOML file with a [grid].")] = Path("plan.toml"),
    out: Annotated[Path, typer.Argument(help="Folder to write.")] = Path("ablation"),
    print_commands: Annotated[
        bool, typer.Option("--print-commands", help="Print the lines for the shell, run nothing.")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = 0,
    workers: options.Workers = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Run the grid."""
    from lungct.training.ablate import ablate, commands_of
    from lungct.training.ablation_plan import read_plan
    from lungct.training.options import Execution

    planned = read_plan(plan)
    execution = Execution(device=device, threads=threads, workers=workers)
    if print_commands:
        lines = commands_of(planned, out, execution)
        return Result(data={"commands": lines}, text="\n".join(lines))
    if dry_run:
        names = [one.name for one in planned.runs]
        return Result(data={"runs": names}, tables=[Table(("run",), [(name,) for name in names], "Would train")])
    with streams.progress() as progress:
        done = ablate(planned, out, execution=execution, overwrite=overwrite, resume=resume, progress=progress)
    return Result(output=out, data=done, tables=[_table(done["rows"])])


def _table(rows: list[dict[str, Any]]) -> Table:
    shown = [key for key in rows[0] if not key.endswith("95") and key != "run"]
    return Table(("run", *shown), [tuple(_cell(row, key) for key in ("run", *shown)) for row in rows], "Ablation")


def _cell(row: dict[str, Any], key: str) -> str:
    value, low, high = row.get(key), row.get(f"{key} low95"), row.get(f"{key} high95")
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" + (f" ({low:.3f} - {high:.3f})" if low is not None and high is not None else "")
