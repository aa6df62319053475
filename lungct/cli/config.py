"""Options from a TOML file: a flag wins over the environment, the environment over the file, the file over defaults."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lungct.errors import InputError
from lungct.io.toml import nearest_key, read_toml

NEVER_FROM_FILE = frozenset({"config", "help"})


def options_from_toml(
    path: Path, command: str, parameters: Collection[str], commands: Collection[str]
) -> dict[str, Any]:
    """The options of ``command`` in a TOML file, keyed by parameter name.

    Options stand in a table named as the command (``[select-slices]``); keys are the flags without dashes in front,
    with ``-`` or ``_`` between words. Tables of other commands are left alone, so one file serves a whole chain.

    Raises:
        InputError: not TOML, or a table or key that no command or option is called; it names the nearest match.
    """
    document = read_toml(path)
    for name, table in document.items():
        if name not in commands or not isinstance(table, dict):
            raise InputError.of(path, f"unknown table or key '{name}'", nearest_key(name, commands, "[{}]"))
    allowed = {name for name in parameters if name not in NEVER_FROM_FILE}
    found = {}
    for key, value in document.get(command, {}).items():
        name = key.replace("-", "_")
        if name not in allowed:
            flags = sorted(one.replace("_", "-") for one in allowed)
            raise InputError.of(path, f"[{command}] has an unknown key '{key}'", nearest_key(key, flags))
        found[name] = value
    return found
