"""Weights and training state on disk: safetensors with one metadata key, and a state file without pickled code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lungct.errors import InputError
from lungct.io import atomic

KEY = "lungct"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], card_json: str) -> None:
    """Write weights and their card; the same bytes for the same values."""
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    atomic.write_bytes(path, safetensors.torch.save(whole, {KEY: card_json}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights and the card's JSON.

    Raises:
        InputError: missing, truncated, or without our metadata.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, safetensors.SafetensorError) as problem:
        raise InputError.of(path, f"not readable as safetensors ({problem})") from None
    if KEY not in metadata:
        raise InputError.of(path, f"has no '{KEY}' metadata", "was it written by lungct train?")
    return tensors, metadata[KEY]


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state of tensors, numbers, strings, lists and dicts."""
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    atomic.write_bytes(path, stream.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state, on the CPU; a file with pickled code in it is refused.

    Raises:
        InputError: missing, truncated, or not a plain state.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError.of(path, "no such file") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as problem:
        reason = " ".join(str(problem).split())[:120]
        raise InputError.of(path, f"not readable as a training state ({reason})") from None
    if not isinstance(state, dict):
        raise InputError.of(path, "not a training state")
    return state
