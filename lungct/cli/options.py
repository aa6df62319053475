"""The options that several subcommands share, declared once; a command takes those that it honours."""

from __future__ import annotations

import difflib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.errors import UsageError
from lungct.registry import HU_WINDOWS

EXECUTION = "Running"
OUTPUT = "Output"
PRIVACY = "Privacy"
LONGEST_PATH = 4096


def read_path_from_stdin(path: Path | None) -> Path | None:
    """``-`` stands for the path that the command before printed on its stdout, plain or as its --json object."""
    if path is None or str(path) != "-":
        return path
    text = sys.stdin.read().strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text).get("output") or "")
        except json.JSONDecodeError:
            text = ""
    first = text.splitlines()[0].strip() if text else ""
    if not first:
        raise typer.BadParameter("'-' was given and no path came on stdin; did the command before fail?")
    if len(first) > LONGEST_PATH or not first.isprintable():
        raise typer.BadParameter("'-' was given and what came on stdin is no path")
    return Path(first)


def input_path(help: str) -> Any:  # noqa: A002 - the name of typer's own parameter
    """An input argument that takes ``-`` for a path on stdin."""
    return typer.Argument(help=help + " '-' reads the path from stdin.", callback=read_path_from_stdin, allow_dash=True)


def choice(flag: str, names: Sequence[str], help: str, **more: Any) -> Any:  # noqa: A002
    """An option whose value (or each of its values) is one of ``names``, which come from the registry."""

    def check(value: Any) -> Any:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None and one not in names:
                near = difflib.get_close_matches(str(one), names, 1)
                raise typer.BadParameter(f"{one!r} is none of {', '.join(names)}" + (f"; {near[0]}?" if near else ""))
        return value

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    metavar = "|".join(names) if len(names) < 8 else "NAME"
    text = help if len(names) < 8 else f"{help} One of {', '.join(names)}."
    return typer.Option(flag, callback=check, autocompletion=complete, metavar=metavar, help=text, **more)


def numbers_of(text: str, flag: str, count: int) -> tuple[float, ...]:
    """``count`` finite numbers from ``a,b,...``."""
    try:
        found = tuple(float(one) for one in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        raise typer.BadParameter(f"{text!r} is not {count} numbers with commas between", param_hint=flag)
    return found


def range_of(text: str, flag: str) -> tuple[int, int]:
    """``LO,HI`` in whole HU that int16 holds, LO below HI."""
    low, high = numbers_of(text, flag, 2)
    if not -32768 <= low < high <= 32767 or low % 1 or high % 1:
        raise typer.BadParameter(f"{text!r} is not LO,HI in whole HU, -32768 <= LO < HI <= 32767", param_hint=flag)
    return int(low), int(high)


def window_of(text: str, flag: str) -> tuple[int, int]:
    """The HU of a window by its name, or ``LO,HI``."""
    if text in HU_WINDOWS:
        return HU_WINDOWS[text]
    if text[:1].isalpha():
        raise typer.BadParameter(f"{text!r} is neither LO,HI nor one of {', '.join(HU_WINDOWS)}", param_hint=flag)
    return range_of(text, flag)


def size_of(text: str, flag: str) -> tuple[int, int]:
    """``WIDTH,HEIGHT`` in whole pixels."""
    width, height = numbers_of(text, flag, 2)
    if not all(1 <= one <= 8192 and one % 1 == 0 for one in (width, height)):
        raise typer.BadParameter(f"{text!r} is not WIDTH,HEIGHT in whole pixels, 1 to 8192", param_hint=flag)
    return int(width), int(height)


def spacing_of(text: str, flag: str) -> tuple[float, float, float] | None:
    """``X,Y,Z`` in mm, or None for ``native``."""
    if text == "native":
        return None
    x, y, z = numbers_of(text, flag, 3)
    if not all(0.05 <= one <= 50 for one in (x, y, z)):
        raise typer.BadParameter(f"{text!r} is not a voxel spacing (0.05 to 50 mm)", param_hint=flag)
    return x, y, z


def shard_of(text: str) -> tuple[int, int]:
    """``I/N`` as two whole numbers, 0 <= I < N."""
    index, _, count = text.partition("/")
    if not all(one.isascii() and one.isdigit() for one in (index, count)) or not int(index) < int(count):
        raise typer.BadParameter(f"{text!r} is not I/N with 0 <= I < N", param_hint="--shard")
    return int(index), int(count)


def refuse_output_over_input(paths: list[Path | None]) -> None:
    """Of a command's path arguments the last is its output; replacing it must not take an input with it.

    Raises:
        UsageError: the output is an input or holds one.
    """
    known = [Path(os.path.realpath(path)) for path in paths if path is not None]
    for one in known[:-1]:
        if known[-1] == one or known[-1] in one.parents:
            raise UsageError(f"the output {known[-1]} holds the input {one}", "name another output")


Hit = Annotated[
    str,
    typer.Option(
        "--hit",
        help="What hits a nodule on a scan: its radius, a distance as 5mm, or an IoU of boxes as iou0.3.",
        metavar="radius|Nmm|iouN",
        rich_help_panel="Scans",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.", rich_help_panel=EXECUTION)]
Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE", rich_help_panel=EXECUTION),
]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Worker processes; 0 works in this one.", rich_help_panel=EXECUTION)
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads; 0 uses every core.", rich_help_panel=EXECUTION)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, write nothing.", rich_help_panel=EXECUTION)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where an interrupted run stopped.", rich_help_panel=EXECUTION)
]
KeepGoing = Annotated[
    bool,
    typer.Option("--keep-going", help="Leave out cases that fail, and exit 5 at the end.", rich_help_panel=EXECUTION),
]
KeepIds = Annotated[
    bool,
    typer.Option("--keep-ids", help="Name cases by the source's own ids, not by pseudonyms.", rich_help_panel=PRIVACY),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="File with the secret key of the pseudonyms; else LUNGCT_PSEUDONYM_KEY.",
        metavar="FILE",
        rich_help_panel=PRIVACY,
    ),
]


def shard(says: str) -> Any:
    """``--shard I/N``; ``says`` of what."""
    return typer.Option("--shard", metavar="I/N", help=says, rich_help_panel=EXECUTION)


Shard = Annotated[str, shard("Only the I-th of N shares of the patients, I from 0; 'lungct merge' joins the shares.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the output if lungct made it.", rich_help_panel=OUTPUT)
]
