"""Options from a TOML file: a flag wins over the environment, the environment over the file, the file over defaults."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lungct.errors import InputError

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
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise InputError.of(path, f"not readable as TOML ({problem})") from None
    for name, table in document.items():
        if name not in commands or not isinstance(table, dict):
            raise InputError.of(path, f"unknown table or key '{name}'", _nearest(name, commands, "[{}]"))
    allowed = {name for name in parameters if name not in NEVER_FROM_FILE}
    found = {}
    for key, value in document.get(command, {}).items():
        name = key.replace("-", "_")
        if name not in allowed:
            flags = sorted(one.replace("_", "-") for one in allowed)
            raise InputError.of(path, f"[{command}] has an unknown key '{key}'", _nearest(key, flags, "{}"))
        found[name] = value
    return found


def _nearest(name: str, names: Collection[str], form: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), list(names), 1, cutoff=0.0)
    return f"did you mean {form.format(near[0])}?" if near else ""
