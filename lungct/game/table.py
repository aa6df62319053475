"""The game's outcome as text: Markdown and LaTeX tables, a row per method and a column per rule, and in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lungct.report import text_tables
from lungct.report.game_tables import game_tables, leaderboard, ranks_table, strata_tables, tests_table


def markdown(summary: Mapping[str, Any]) -> str:
    """``table.md``: what was played, the leaderboard, every rule in full, strata, tests and the note."""
    head = (
        f"Segmentation game, {summary['version']} rules against the nodule's {summary['shape']}: "
        f"{summary['detections']} true positives of {summary['patients']} patients; means over patients, 95 % "
        "patient-clustered bootstrap intervals."
    )
    tables = [*leaderboard(summary), *game_tables(summary), *strata_tables(summary)]
    tables += [one for one in (ranks_table(summary), tests_table(summary)) if one is not None]
    return f"{head}\n\n{text_tables.markdown(tables)}\n{summary['note']}\n"


def latex(summary: Mapping[str, Any]) -> str:
    """``table.tex``: the leaderboard and every rule in full."""
    return text_tables.latex([*leaderboard(summary), *game_tables(summary)])
