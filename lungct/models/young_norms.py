"""Batch norms from scratch keep the plain mean of their first batches' statistics, in place of where they began."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def young_statistics(module: nn.Module, seen: int) -> Iterator[None]:
    """Within it a batch is passed through, for training, after ``seen`` others since the random start.

    A running variance begins at 1, of which (1 - momentum)^n is left after n batches. Outputs of a depthwise
    convolution vary by thousandths of that at first, so for hundreds of batches a network would detect nothing though
    it has learned. Here the running statistics are the plain mean over the batches until the momentum takes over.

    Raises:
        RuntimeError: a norm that ran more than once in the first pass, as one that several levels share does.
    """
    norms = [one for one in module.modules() if isinstance(one, _BatchNorm) and one.momentum is not None]
    norms = [one for one in norms if (seen + 1) * (one.momentum or 0.0) < 1]
    before = [(_copy(one.running_mean), _copy(one.running_var)) for one in norms]
    runs = [_runs(one) for one in norms] if seen == 0 else []
    yield
    passed = max((_runs(one) - already for one, already in zip(norms, runs, strict=False)), default=0)
    if passed > 1:
        raise RuntimeError(f"a batch norm ran {passed} times in one pass; its young statistics suppose one")
    with torch.no_grad():
        for norm, (mean, variance) in zip(norms, before, strict=True):
            longer = 1 / ((seen + 1) * (norm.momentum or 1.0))  # the step that is wanted over the one that was taken
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean.copy_(mean.lerp(norm.running_mean, longer))
                norm.running_var.copy_(variance.lerp(norm.running_var, longer).clamp_(min=0))


def _copy(statistic: torch.Tensor | None) -> torch.Tensor:
    return torch.empty(0) if statistic is None else statistic.clone()


def _runs(norm: _BatchNorm) -> int:
    return 0 if norm.num_batches_tracked is None else int(norm.num_batches_tracked)
