"""A TOML file as a dictionary, and the nearest of the known names where one in it is not known."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lungct.errors import InputError


def read_toml(path: Path) -> dict[str, Any]:
    """The tables and keys of a file.

    Raises:
        InputError: missing, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise InputError.of(path, f"not readable as TOML ({problem})") from None


def nearest_key(name: str, names: Collection[str], form: str = "{}") -> str:
    """The hint ``did you mean ...?``, empty where there are no names; ``-`` and ``_`` are one, as in flags and keys.

    Args:
        form: how the name is shown.
    """
    spelled = {one.replace("_", "-"): one for one in sorted(names)}
    near = difflib.get_close_matches(name.replace("_", "-"), list(spelled), 1, cutoff=0.0)
    return f"did you mean {form.format(spelled[near[0]])}?" if near else ""
