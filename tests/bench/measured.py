"""CPU-seconds and peak memory of rival ways to do one thing, each run in a process of its own, in turn."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPEATS = 5


@dataclass(frozen=True)
class Figure:
    """What one way cost, over its runs."""

    cpu_s: tuple[float, ...]
    peak_mb: float
    said: Mapping[str, Any]

    @property
    def median_s(self) -> float:
        """Median CPU-seconds, imports not counted."""
        return statistics.median(self.cpu_s)


def report_self(work: Callable[[], Mapping[str, Any] | None]) -> None:
    """Do the work in this process and print what it cost (threads and children counted); for the process of one run."""
    start = _cpu_s()
    said = work() or {}
    cost = _cpu_s() - start
    sys.stdout.write(json.dumps({"cpu_s": cost, "peak_mb": _peak_kb() / 1024, "said": said}) + "\n")


def _peak_kb() -> int:
    """Largest resident size of this program; getrusage would count that of the process it was forked from, too."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_turn(script: Path, ways: Sequence[str], *arguments: str, repeats: int = REPEATS) -> dict[str, Figure]:
    """Run ``python script WAY *arguments`` for every way, ``repeats`` times round: a busy minute hits all alike."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            done = subprocess.run(
                [sys.executable, str(script), way, *arguments], check=True, stdout=subprocess.PIPE, text=True
            )
            runs[way].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        way: Figure(tuple(run["cpu_s"] for run in of), max(run["peak_mb"] for run in of), of[-1]["said"])
        for way, of in runs.items()
    }


def table(figures: Mapping[str, Figure], against: str) -> str:
    """One line per way: median, range, and how many times what ``against`` costs."""
    base = figures[against].median_s
    lines = [f"{'way':<28}{'CPU-s':>8}{'min':>8}{'max':>8}{'x ours':>8}{'peak MB':>9}"]
    for way, one in figures.items():
        cost = f"{one.median_s:8.2f}{min(one.cpu_s):8.2f}{max(one.cpu_s):8.2f}"
        lines.append(f"{way:<28}{cost}{one.median_s / base:8.1f}{one.peak_mb:9.0f}")
    return "\n".join(lines)
