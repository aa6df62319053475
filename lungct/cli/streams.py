"""stdout carries the product, stderr everything for the eyes; progress only where there is a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lungct.cli.result import Table

Progress = Callable[[str, int, int], None]
AddRow = Callable[[Mapping[str, float]], None]
LIVE_ROWS = 12
logger = logging.getLogger("lungct")


def configure(*, quiet: bool, verbose: int) -> None:
    """Send log records to stderr: errors with --quiet, warnings by default, -v adds information, -vv debugging."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("lungct: %(levelname)s: %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def _on_terminal() -> bool:
    return sys.stderr.isatty() and logger.level < logging.ERROR


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """A ``progress(what, done, total)`` callback: a live bar on a terminal, a log line at -v elsewhere."""
    if not _on_terminal():
        yield _log_progress()
        return
    with _bar() as bar:
        yield _shown_in(bar)


@contextlib.contextmanager
def live() -> Iterator[tuple[Progress, AddRow]]:
    """The progress callback, and one that adds a row of numbers to a table which grows above the bar on a terminal."""
    if not _on_terminal():
        yield _log_progress(), lambda row: None
        return
    from rich.console import Group
    from rich.live import Live

    bar, rows = _bar(), list[Mapping[str, float]]()
    with Live(bar, console=bar.console, transient=True) as shown:

        def add(row: Mapping[str, float]) -> None:
            rows.append(row)
            shown.update(Group(_table_of(rows[-LIVE_ROWS:]), bar), refresh=True)

        yield _shown_in(bar), add


def _table_of(rows: Sequence[Mapping[str, float]]) -> Any:
    from rich.table import Table as RichTable

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = RichTable(*columns)
    for row in rows:
        table.add_row(*(f"{row[name]:.4g}" if name in row else "" for name in columns))
    return table


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Bar(*columns, console=Console(stderr=True), transient=True)


def _shown_in(bar: Any) -> Progress:
    tasks: dict[str, int] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = int(bar.add_task(what, total=total))
        bar.update(tasks[what], completed=done, total=total)

    return show


def _log_progress() -> Progress:
    seen: dict[str, int] = {}

    def log(what: str, done: int, total: int) -> None:
        step = 10 * done // max(total, 1)
        if seen.get(what) != step:
            seen[what] = step
            logger.info("%s: %d of %d", what, done, total)

    return log


def say(line: str) -> None:
    """One line on stderr, unless --quiet."""
    if logger.level < logging.ERROR:
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def show_table(table: Table) -> None:
    """Print a table on stderr, unless --quiet."""
    if logger.level >= logging.ERROR:
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title or None, title_justify="left")
    for column in table.columns:
        drawn.add_column(column)
    for row in table.rows:
        drawn.add_row(*(f"{cell:z.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=120)
    console.print(drawn)
