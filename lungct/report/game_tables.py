"""The tables of the segmentation game: the leaderboard, each rule in full, strata, tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from lungct import registry
from lungct.report.table import NONE, Table, interval, number, plain, probability, without_empty

_COLUMNS = (
    "method",
    "mean",
    "95 % interval",
    "chance",
    "ceiling",
    "normalised",
    "95 % interval",
    "maps",
    "patients",
    "failed",
)
_UNSCALED = {**registry.FAITHFULNESS, **registry.MAP_MEASURES}


def method_name(name: str) -> str:
    """A method as it is shown: controls and the upper bound are marked as such."""
    if name in registry.CONTROLS:
        return f"{name} (control)"
    return f"{name} (upper bound)" if name == registry.UPPER_BOUND else name


def _beside(row: Mapping[str, Any]) -> tuple[bool, bool]:
    return row.get("method") == registry.UPPER_BOUND, row.get("method") in registry.CONTROLS


def leaderboard(game: Mapping[str, Any]) -> list[Table]:
    """A row per method, a column per rule: normalised scores of place, then the measures of faithfulness as they are.

    Methods stand by their mean over the rules that do not depend on the nodule's size, controls after them.
    """
    rows = list(game.get("rows") or [])
    value = {(str(row["method"]), str(row["rule"])): row for row in rows}
    tables = []
    for caption, known, key in (
        ("Leaderboard: normalised scores, 0 by chance, 1 at best", registry.RULES, "normalised"),
        ("Faithfulness, robustness, sanity and concentration", _UNSCALED, "mean"),
    ):
        rules = [rule for rule in known if any(row["rule"] == rule for row in rows)]
        if not rules:
            continue
        methods = _ranked(rows, value)
        cells = [
            [method_name(name), *(number((value.get((name, rule)) or {}).get(key)) for rule in rules)]
            for name in methods
        ]
        less = [rule for rule in rules if rule in registry.LESS_IS_BETTER]
        words = f"{caption}; less is better of {', '.join(less)}" if less else caption
        tables.append(without_empty(Table(words, ("method", *rules), cells)))
    return tables


def _ranked(rows: Sequence[Mapping[str, Any]], value: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    bound = (*registry.SIZE_BOUND_RULES, "energy-elsewhere", "iou-oracle")
    free = [rule for rule in registry.RULES if rule not in bound]

    def key(name: str) -> tuple[bool, bool, float]:
        found = [(value.get((name, rule)) or {}).get("normalised") for rule in free]
        known = [one for one in found if one is not None]
        return *_beside({"method": name}), -(sum(known) / len(known)) if known else float("inf")

    return sorted(dict.fromkeys(str(row["method"]) for row in rows), key=key)


def game_tables(game: Mapping[str, Any]) -> list[Table]:
    """A table per rule, methods first, controls and the upper bound after them."""
    tables = []
    rows = game.get("rows") or []
    for rule in dict.fromkeys(str(row.get("rule")) for row in rows):
        of_rule = sorted((row for row in rows if str(row.get("rule")) == rule), key=_beside)
        known = registry.EVERY_MEASURE.get(rule)
        caption = f"{rule}: {known.summary}" if known else rule
        tables.append(without_empty(Table(caption, _COLUMNS, [_game_row(row) for row in of_rule])))
    return tables


def _game_row(row: Mapping[str, Any]) -> list[str]:
    return [
        method_name(str(row.get("method"))),
        number(row.get("mean")),
        interval(row.get("ci95")),
        *(number(row.get(key)) for key in ("chance", "ceiling", "normalised")),
        interval(row.get("normalised_ci95")),
        *(plain(row.get(key)) for key in ("n", "patients", "failed")),
    ]


def strata_tables(game: Mapping[str, Any]) -> list[Table]:
    """Per attribute a table of normalised scores (of faithfulness the means): method and rule down, levels across."""
    tables = []
    for attribute, group in itertools.groupby(game.get("strata") or [], key=lambda row: row["attribute"]):
        lines = list(group)
        levels = list(dict.fromkeys(str(line["level"]) for line in lines))
        counts = {str(line["level"]): int(line["n"]) for line in lines if line["n"]}
        cells = {(str(line["method"]), str(line["rule"]), str(line["level"])): line for line in lines}
        keys = sorted(dict.fromkeys((str(line["rule"]), str(line["method"])) for line in lines), key=_rule_order)
        rows = [
            [f"{rule}, {method_name(method)}", *(_strata_cell(cells.get((method, rule, level))) for level in levels)]
            for rule, method in keys
        ]
        columns = ("rule and method", *(f"{level} (n {counts.get(level, 0)})" for level in levels))
        tables.append(Table(f"Normalised score by {attribute.replace('_mm', ' in mm')}", columns, rows))
    return tables


def _rule_order(key: tuple[str, str]) -> tuple[int, bool, bool, str]:
    rules = list(registry.EVERY_MEASURE)
    return rules.index(key[0]) if key[0] in rules else len(rules), *_beside({"method": key[1]}), key[1]


def _strata_cell(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return NONE
    value = line.get("normalised") if line.get("normalised") is not None else line.get("mean")
    return number(value)


def ranks_table(game: Mapping[str, Any]) -> Table | None:
    """Friedman's test per rule."""
    rows = [
        [
            str(one["rule"]),
            number(one["chi2"]),
            probability(one["p"]),
            probability(one.get("p_holm")),
            number(one["kendall_w"]),
            number(one["critical_difference"]),
            plain(one["patients"]),
            ", ".join(f"{name} {rank:.2f}" for name, rank in one["mean_ranks"].items()),
        ]
        for one in game.get("friedman") or []
    ]
    columns = ("rule", "chi2", "p", "p (Holm)", "Kendall's W", "critical difference", "patients", "mean ranks")
    return Table("Friedman's test over methods and controls", columns, rows) if rows else None


def tests_table(game: Mapping[str, Any]) -> Table | None:
    """The paired tests between methods."""
    tests = game.get("tests") or []
    if not tests:
        return None
    columns = ("rule", "first", "second", "difference", "rank-biserial", "p", "p (Holm)", "patients")
    rows = [
        [
            *(plain(test.get(key)) for key in ("rule", "a", "b")),
            number(test.get("difference"), signed=True),
            number(test.get("rank_biserial"), signed=True),
            *(probability(test.get(key)) for key in ("p", "p_holm")),
            plain(test.get("patients")),
        ]
        for test in tests
    ]
    return without_empty(Table("Paired tests, first minus second", columns, rows))
