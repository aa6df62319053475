"""The metadata of a safetensors file, read from its first bytes: no tensor is loaded, torch is not needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lungct.errors import InputError

CARD_KEY = "lungct"
WEIGHTS = "model.safetensors"
"""What a run folder calls the weights of its best epoch."""
_LARGEST_HEADER = 100_000_000


def weights_of(run: Path) -> Path:
    """The weights of a run folder, or of a .safetensors file itself."""
    return run / WEIGHTS if run.is_dir() else run


def read_card(path: Path) -> dict[str, Any]:
    """The model card that ``lungct train`` put into the weights' metadata, as plain JSON values.

    Raises:
        InputError: missing, not safetensors, or without a card.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(length))
        card = json.loads(header["__metadata__"][CARD_KEY])
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (KeyError, TypeError):
        raise InputError.of(path, "has no model card in its metadata", "was it written by lungct train?") from None
    except (OSError, ValueError) as problem:
        raise InputError.of(path, f"not readable as safetensors ({problem})") from None
    if not isinstance(card, dict):
        raise InputError.of(path, "its model card is not a JSON object")
    return card
