"""Look for faults in scans, slices and labels.

PATH is what 'lungct preprocess' or 'lungct select-slices' wrote, or raw data of any known layout; more data sets, to be
held against it, come with --also. Found are copies (the same voxels, all but the same image, shared slices), patients,
series and copies in two splits, one scan in two data sets, labels that contradict each other, and of each scan: values
that are no HU, missing or cut lungs, gaps and repeats of slices, thick, oblique or odd voxels, a field of view that
cuts the body, contrast agent, and noise by the variance of the Laplacian.

Writes findings.csv, measures.csv, summary.json and worst.png, and with --duplicates resolve also exclude.txt, which
'lungct select-slices' leaves out: of copies with the same label all but one, of copies with different labels all.

References: Hu 1962; Lucas & Kanade 1981; Iglewicz & Hoaglin 1993; Setio 2017.

Example: lungct audit slices/ audit/ --duplicates resolve --fail-on error
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungct.cli import options, streams
from lungct.cli.result import Result, Table
from lungct.registry import FOUND, NOISE_PERCENTILE, SOURCES

if TYPE_CHECKING:
    from lungct.audit.run import Audit

COPIES = "Duplicates and noise"
FAIL_ON = {"warning": ("error", "warning"), "error": ("error",)}
"""--fail-on -> severities that make the exit code 3."""


def run(
    path: Annotated[Path, options.input_path("Preprocessed or raw scans, or selected slices.")] = Path("out"),
    out: Annotated[Path, typer.Argument(metavar="[AUDIT_OUT]", help="Folder to write.")] = Path("audit"),
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="PATH", help="A further data set; may be repeated.")
    ] = None,
    source: Annotated[
        str | None, options.choice("--source", tuple(SOURCES), "Layout of a raw PATH; found by itself if left out.")
    ] = None,
    duplicates: Annotated[
        str,
        options.choice("--duplicates", FOUND, "Only report them, or list what to leave out.", rich_help_panel=COPIES),
    ] = FOUND[0],
    noise: Annotated[
        str, options.choice("--noise", FOUND, "The same for the noisiest images.", rich_help_panel=COPIES)
    ] = FOUND[0],
    noise_percentile: Annotated[
        float,
        typer.Option(
            "--noise-percentile",
            min=0,
            max=100,
            help="Of the Laplacian variance; images above are the noisiest, at 100 none.",
            rich_help_panel=COPIES,
        ),
    ] = NOISE_PERCENTILE,
    fail_on: Annotated[
        str | None, options.choice("--fail-on", tuple(FAIL_ON), "Exit with 3 where a finding is as grave as this.")
    ] = None,
    workers: options.Workers = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> Result:
    """Audit the data sets."""
    from lungct.audit.run import AuditOptions, audit, plan
    from lungct.preprocessing.cases import Running

    paths = [path, *(also or [])]
    options.refuse_output_over_input([*paths, out])
    wanted = AuditOptions(source, duplicates, noise, noise_percentile)
    if dry_run:
        return Result(data=plan(paths, out, wanted, overwrite=overwrite))
    with streams.progress() as progress:
        found = audit(paths, out, wanted, Running(workers, overwrite=overwrite, progress=progress))
    return Result(output=out, data=found.summary, tables=_tables(found), refused=_refusal(found, fail_on))


def _tables(found: Audit) -> list[Table]:
    kinds = found.summary["kinds"]
    rows = [(kind["severity"], name, kind["count"], kind["summary"]) for name, kind in kinds.items()]
    counted = ", ".join(f"{count} {name}s" for name, count in found.summary["findings"].items())
    return [Table(("severity", "kind", "count", "what"), rows, f"Findings: {counted}")]


def _refusal(found: Audit, fail_on: str | None) -> str:
    counts = found.summary["findings"]
    grave = [f"{counts[name]} {name}s" for name in FAIL_ON.get(fail_on or "", ()) if counts[name]]
    return f"--fail-on {fail_on}: {' and '.join(grave)}" if grave else ""
