"""A large JSON array of objects, parsed a piece at a time: the whole of it never stands in memory as objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

PIECE_CHARS = 1 << 16
"""Few enough objects at a time that the collector of cycles has next to nothing to look through."""
_BETWEEN = re.compile(r"\}\s*,\s*(?=\{)")


def pieces(text: str, size: int = PIECE_CHARS) -> Iterator[list[Any]]:
    """The elements of a JSON array in lists, in order; each list is of about ``size`` characters of text.

    A piece ends between ``}`` and ``{``. Where that is inside an element, what comes before is no JSON (its brackets or
    quotes are not closed) and the piece is made longer.

    Raises:
        json.JSONDecodeError: not JSON; its position is that in ``text``.
        ValueError: JSON, and no array.
    """
    start = _after_bracket(text)
    reach = size
    while True:
        end = _BETWEEN.search(text, start + reach)
        if end is None:
            break
        try:
            rows = json.loads("[" + text[start : end.start() + 1] + "]")
        except json.JSONDecodeError:
            reach *= 2
            continue
        yield rows
        start, reach = end.end(), size
    try:
        yield json.loads("[" + text[start:])
    except json.JSONDecodeError as problem:
        raise json.JSONDecodeError(problem.msg, text, start + problem.pos - 1) from None


def _after_bracket(text: str) -> int:
    start = re.match(r"\s*", text).end()  # type: ignore[union-attr] # it always matches
    if text[start : start + 1] != "[":
        json.loads(text)
        raise ValueError("not an array")
    return start + 1
