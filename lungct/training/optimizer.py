"""The optimisers that can be chosen."""

from __future__ import annotations

import torch
from torch import nn

from lungct.training.options import TrainOptions

MOMENTUM = 0.9


def make_optimizer(detector: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW, Adam, or SGD with Nesterov's momentum; weight decay on weights alone, not on biases and norms.

    Source: Loshchilov & Hutter 2019 (AdamW decays apart from the gradient), Kingma & Ba 2015, Sutskever 2013.
    """
    parameters = [one for one in detector.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = {one.device.type for one in parameters} <= {"cpu", "cuda"}  # one pass over memory where there is a kernel
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.lr, momentum=MOMENTUM, nesterov=True, fused=fused)
    if options.optimizer == "adam":
        return torch.optim.Adam(groups, lr=options.lr, fused=fused)
    return torch.optim.AdamW(groups, lr=options.lr, fused=fused)
