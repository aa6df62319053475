"""Batch norms that see the whole batch, though each process has a part of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from lungct.models.ranks import world


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over the processes, each of whose losses depends on it: so the gradient is their sum too."""

    @staticmethod
    def forward(context: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum_of_all(part: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(part)
    return total


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the parts of all processes, on any device; torch's own, which it equals, is for GPUs alone."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, Y, X) to the same shape; the parts may differ in B, Y and X."""
        if not self.training or world() == 1:
            return super().forward(image)
        values = image.float()
        count = values.new_tensor(float(values.numel() // values.shape[1]))
        sums: Tensor = _sum_of_all(torch.cat((values.sum((0, 2, 3)), count[None])))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centered = values - mean[:, None, None]
        variance: Tensor = _sum_of_all(centered.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(image.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def sync_norms(module: nn.Module) -> nn.Module:
    """Put synced norms in place of batch norms, with their values and names; returns the module."""
    if next(module.parameters()).is_cuda:
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return synced
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _synced(child))
    return module


def _synced(norm: nn.BatchNorm2d) -> SyncedBatchNorm2d:
    twin = SyncedBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    twin.load_state_dict(norm.state_dict())
    twin.weight.requires_grad_(norm.weight.requires_grad)
    twin.bias.requires_grad_(norm.bias.requires_grad)
    return twin.train(norm.training)
