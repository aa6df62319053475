"""Processes that torchrun started become one run: who they are, what part of a batch each has, who writes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.utils.data import Sampler

from lungct.data.sampling import Draw, EpochBatches
from lungct.errors import UsageError
from lungct.models.ranks import rank, world

LONGEST_WAIT = timedelta(hours=12)
"""Of one process for the others, as where the first reads or writes for all."""

logger = logging.getLogger("lungct")


def under_torchrun() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    return not under_torchrun() or os.environ["RANK"] == "0"


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Join the other processes of torchrun, by NCCL on CUDA and by gloo elsewhere; alone without torchrun."""
    if not under_torchrun():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    level = logger.level
    if rank():
        logger.setLevel(logging.ERROR)  # the first one speaks for all
    try:
        yield
    finally:
        logger.setLevel(level)
        distributed.destroy_process_group()


def own_device(name: str) -> str:
    """The name of the device of this process: of several CUDA devices its own."""
    if not under_torchrun() or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    torch.cuda.set_device(own)
    return own


def check_divides(batch: int) -> None:
    """Refuse a batch that cannot be shared out evenly.

    Raises:
        UsageError: so.
    """
    if batch % world():
        raise UsageError(f"--batch {batch} cannot be shared out among {world()} processes", "give a multiple")


class OwnPart(Sampler[list[Draw]]):
    """This process's part of every batch."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in self.batches:
            share = len(batch) // world()
            yield batch[rank() * share : (rank() + 1) * share]


def same_start(module: nn.Module) -> None:
    """Give all processes the first one's weights, should another kind of processor have made others."""
    if world() > 1:
        for one in module.state_dict().values():
            distributed.broadcast(one, 0)
