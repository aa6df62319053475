"""Tables as Markdown and as LaTeX (booktabs), for papers and for pages of other programs."""

from __future__ import annotations

from collections.abc import Sequence

from lungct.report.table import NONE, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    NONE: "--",
}


def markdown(tables: Sequence[Table]) -> str:
    """Every table under a heading; a bar in a cell is escaped."""
    return "\n".join(f"## {one.caption}\n\n{_markdown(one)}" for one in tables)


def _markdown(one: Table) -> str:
    rules = ["---", *["---" if one.words else "---:"] * (len(one.columns) - 1)]
    lines = [[_bars(cell) for cell in one.columns], rules, *([_bars(cell) for cell in row] for row in one.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _bars(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


def latex(tables: Sequence[Table]) -> str:
    """Every table as a ``table`` environment; needs the package booktabs."""
    head = "% \\usepackage{booktabs} is needed.\n"
    return head + "\n".join(map(_latex, tables))


def _latex(one: Table) -> str:
    align = "l" + ("l" if one.words else "r") * (len(one.columns) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(one.caption)}}}",
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        _cells(one.columns),
        r"\midrule",
        *map(_cells, one.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Sequence[str]) -> str:
    return " & ".join(map(_escaped, row)) + r" \\"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
