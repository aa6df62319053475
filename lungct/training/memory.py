"""Memory of a training run: the limit on a GPU, and advice where it runs out."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

import torch

from lungct.errors import EnvironmentError_, UsageError
from lungct.training.options import TrainOptions

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_CPU_FAULTS = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
logger = logging.getLogger("lungct")


def parse_bytes(text: str) -> int:
    """``6GB``, ``512 MiB`` or plain bytes.

    Raises:
        UsageError: not so, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    if found is None or found[2].upper() not in UNITS or float(found[1]) <= 0:
        raise UsageError(f"--max-gpu-memory {text!r} is no size such as 6GB or 5500MiB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def limit_gpu_memory(device: torch.device, limit_bytes: int) -> None:
    """Let tensors take at most so much of a CUDA device; a run that needs more ends as out of memory.

    The driver's own context, some hundred MB, is not under the limit. Elsewhere a warning says that there is none.
    """
    if not limit_bytes:
        return
    if device.type != "cuda":
        logger.warning("--max-gpu-memory has no bearing on %s", device.type)
        return
    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(limit_bytes / whole, 1.0), device)


@contextlib.contextmanager
def advice(options: TrainOptions, limit_bytes: int = 0) -> Iterator[None]:
    """Turn an exhausted memory into an error that says what takes less.

    Raises:
        EnvironmentError_: out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as problem:  # torch's OutOfMemoryError is a RuntimeError
        known = isinstance(problem, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(one in str(problem) for one in _CPU_FAULTS):
            raise
        raise EnvironmentError_(_what(options, limit_bytes), _less(options, limit_bytes)) from None


def _what(options: TrainOptions, limit_bytes: int) -> str:
    shown = f"crops of {options.crop_px} px" if options.crop_px else f"whole slices x {options.magnify:g}"
    limit = f" under the limit of {limit_bytes / 1e9:g} GB" if limit_bytes else ""
    return f"out of memory{limit} at --batch {options.batch}, {shown}, --amp {options.amp}"


def _less(options: TrainOptions, limit_bytes: int) -> str:
    steps = []
    if options.batch > 1:
        half = options.batch // 2
        steps.append(f"--batch {half} --accumulate {options.accumulate * options.batch // half}")
    steps.append(f"--crop {max(options.crop_px // 2, 64)}" if options.crop_px else f"--crop {TrainOptions.crop_px}")
    if options.magnify > 1:
        steps.append("--magnify 1")
    if options.amp == "off":
        steps.append("--amp auto")
    if limit_bytes:
        steps.append("a higher --max-gpu-memory")
    return "try " + ", or ".join(steps)
