"""Reading a trained model back from its run folder."""

from __future__ import annotations

from pathlib import Path

import torch

from lungct.errors import InputError
from lungct.io.checkpoint import load_tensors
from lungct.io.weights_header import weights_of
from lungct.models.card import ModelCard
from lungct.models.detector import LoadedModel, build_detector
from lungct.models.device import pick_device


def load_model(run: Path, device: str | torch.device = "auto") -> LoadedModel:
    """The detector of a run folder (its best epoch) or of one .safetensors file, ready to detect.

    Raises:
        InputError: no weights there, or weights that do not fit their card.
    """
    path = weights_of(run)
    tensors, text = load_tensors(path)
    card = ModelCard.from_json(text)
    detector = build_detector(card)
    try:
        detector.load_state_dict(tensors)
    except RuntimeError as problem:
        raise InputError.of(path, f"weights do not fit their card ({' '.join(str(problem).split())[:160]})") from None
    place = pick_device(device) if isinstance(device, str) else device
    return LoadedModel(detector.to(place).eval(), card)
