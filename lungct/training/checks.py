"""Refuses options of the wrong kind, or that are none of the choices, as a file or a program may give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from lungct.errors import UsageError
from lungct.io.toml import nearest_key

_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
}


def check_kinds(options: Any) -> None:
    """Refuse a value of a dataclass's plain fields that is not of the field's type; whole numbers are numbers.

    Raises:
        UsageError: so.
    """
    for one in dataclasses.fields(options):
        kinds, spoken = _KINDS.get(str(one.type), ((object,), ""))
        value = getattr(options, one.name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
            raise UsageError(f"{one.name} takes {spoken}, not {value!r}")


def check_choices(options: Any, choices: Mapping[str, Collection[str]]) -> None:
    """Refuse a field that is none of its choices.

    Raises:
        UsageError: so; it names the nearest.
    """
    for name, known in choices.items():
        value = getattr(options, name)
        if value not in known:
            raise UsageError(f"{name} {value!r} is none of {', '.join(known)}", nearest_key(value, known))
