"""The optional packages: imported where they are needed, and named with their pip line where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from lungct.errors import EnvironmentError_


def extra(module: str, *, name: str, wanted_by: str) -> Any:
    """Import an optional module.

    Args:
        name: the extra of ``pyproject.toml`` that brings it.
        wanted_by: the option or command that needs it.

    Raises:
        EnvironmentError_: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise EnvironmentError_(
            f"{wanted_by} needs {module.partition('.')[0]}", f"pip install 'lungct[{name}]'"
        ) from None
