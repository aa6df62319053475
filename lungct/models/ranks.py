"""What the processes of one run, each with its part of every batch, tell each other; in one process nothing happens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import distributed, nn


def world() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Number of this one, from 0; 0 alone writes."""
    return distributed.get_rank() if world() > 1 else 0


def mean_count(count: int, device: torch.device) -> float:
    """The mean of a count over the processes.

    Gradients are averaged over the processes, so a loss that each divides by the mean count is, over all, the sum over
    the whole batch divided by the whole count, as in one process.
    """
    if world() == 1:
        return float(count)
    total = torch.tensor(float(count), dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    return float(total) / world()


def mean_values(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean over the processes of each value; their names are the same in all."""
    if world() == 1:
        return values
    together = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    distributed.all_reduce(together)
    return dict(zip(values, (together / world()).tolist(), strict=True))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Put in place of each gradient its mean over the processes, where any process has one."""
    if world() == 1:
        return
    learning = [one for one in parameters if one.requires_grad]
    present = torch.tensor([one.grad is not None for one in learning], dtype=torch.uint8, device=learning[0].device)
    distributed.all_reduce(present, distributed.ReduceOp.MAX)
    shared = [one for one, there in zip(learning, present.tolist(), strict=True) if there]
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in shared]
    flat = torch.cat([one.flatten() for one in gradients])
    distributed.all_reduce(flat)
    flat /= world()
    for one, part in zip(shared, flat.split([one.numel() for one in shared]), strict=True):
        one.grad = torch.empty_like(one).copy_(part.view(one.shape))


def gathered(part: Any) -> list[Any]:
    """A Python object of each process, in the order of their ranks, in all of them."""
    if world() == 1:
        return [part]
    parts: list[Any] = [None] * world()
    distributed.all_gather_object(parts, part)
    return parts


def from_first(thing: Any) -> Any:
    """The Python object of the first process, in all of them."""
    if world() == 1:
        return thing
    box = [thing]
    distributed.broadcast_object_list(box)
    return box[0]
