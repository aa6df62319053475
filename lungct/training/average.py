"""A slow copy of the weights that learn, their exponential moving average, which often detects better than they do."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The average after n updates weighs the newest weights by 1 - min(decay, (1 + n) / (10 + n)).

    So a young average forgets the random start. Statistics of norms are averaged as weights are.

    Source: Tarvainen & Valpola 2017 (mean teacher); the rising decay is TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, detector: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(detector).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, detector: nn.Module) -> None:
        """Take one step towards the weights of ``detector``."""
        newest = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        own, theirs = self.model.state_dict(), detector.state_dict()
        moving = [name for name, one in own.items() if one.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in moving], [theirs[name] for name in moving], newest)
        for name in own.keys() - set(moving):
            own[name].copy_(theirs[name])
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Tensors and the number of updates."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where :meth:`state_dict` stood."""
        tensors: dict[str, Tensor] = state["model"]
        self.model.load_state_dict(tensors)
        self.updates = int(state["updates"])
