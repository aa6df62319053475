"""Many changed images through the network, a few at a time, fewer where the memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from lungct.errors import EnvironmentError_

logger = logging.getLogger("lungct")

CPU_BATCH_PX = 512 * 512
GPU_BATCH_PX = 32 * 512 * 512
CPU_BATCH_CELLS = 1 << 23
GPU_BATCH_CELLS = 1 << 28

CPU_FAULTS = ("can't allocate memory", "not enough memory")
"""What torch says where a CPU's memory runs out, as a RuntimeError like any other."""

T = TypeVar("T")


def paying_batch(image: Tensor) -> int:
    """How many changed copies of a (C, H, W) image go through the network at once.

    On a CPU larger batches only cost memory: measured, images of over 512 x 512 px are fastest one by one.
    """
    room_px = CPU_BATCH_PX if image.device.type == "cpu" else GPU_BATCH_PX
    return max(1, room_px // (image.shape[1] * image.shape[2]))


def paying_heads(activations: Tensor) -> int:
    """How many changed copies of a (C, h, w) level go through a head at once."""
    room = CPU_BATCH_CELLS if activations.device.type == "cpu" else GPU_BATCH_CELLS
    return max(1, room // max(activations.numel(), 1))


def in_batches(count: int, batch: int, work: Callable[[range], T]) -> Iterator[tuple[range, T]]:
    """``work`` on 0..count in ranges of at most ``batch``, halved for good where memory runs out.

    Raises:
        EnvironmentError_: one alone is too large.
    """
    start = 0
    while start < count:
        part = range(start, min(start + batch, count))
        done: T | None = None
        try:
            done = work(part)
        except (MemoryError, RuntimeError) as problem:
            if not _out_of_memory(problem):
                raise
            if len(part) == 1:
                raise EnvironmentError_(
                    "out of memory with one changed image at a time",
                    "use --device cpu, a machine of more memory, or a model trained with a smaller --magnify",
                ) from None
        if done is None:  # after the except block, so that its traceback holds no tensors any more
            batch = len(part) // 2
            logger.info("out of memory: going on with %d at a time", batch)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        yield part, done
        start = part.stop


def _out_of_memory(problem: MemoryError | RuntimeError) -> bool:
    known = isinstance(problem, (MemoryError, torch.OutOfMemoryError))
    return known or any(one in str(problem) for one in CPU_FAULTS)
