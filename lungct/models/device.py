"""Which device and which number format to compute in."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil

import torch

from lungct.errors import EnvironmentError_, UsageError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: no such name.
        EnvironmentError_: the device is not there.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N, mps") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in there:
        raise UsageError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N, mps")
    if not there[device.type]:
        raise EnvironmentError_(f"device {name} is not available here", "use --device cpu")
    return device


def amp_dtype(choice: str, device: torch.device) -> torch.dtype | None:
    """The autocast format for a choice of ``registry.AMP``, None for plain float32.

    ``auto`` takes bf16 on a CPU with matrix units for it (AMX) and on CUDA where supported, else fp16 on CUDA. On a CPU
    that has bf16 in its vector units alone (AVX-512 BF16) a step takes a fifth to two fifths longer than in float32:
    what the products gain, the conversions lose.

    Raises:
        UsageError: fp16 on a CPU, which has no scaled gradients worth the name.
    """
    if choice == "fp16" and device.type == "cpu":
        raise UsageError("--amp fp16 needs a GPU; use bf16 or off on the CPU")
    if choice in ("bf16", "fp16"):
        return torch.bfloat16 if choice == "bf16" else torch.float16
    if choice == "off":
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _cpu_has_bf16_units() else None


def _cpu_has_bf16_units() -> bool:
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    """The autocast block for :func:`amp_dtype`."""
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def check_compiles(device: torch.device) -> None:
    """Make sure that torch.compile finds what it compiles with: a C++ compiler on a CPU, triton on a GPU.

    Raises:
        EnvironmentError_: it is not there.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise EnvironmentError_("--compile needs triton on a GPU", "pip install triton, or leave out --compile")
    elif not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++", "cl"))):
        raise EnvironmentError_("--compile needs a C++ compiler", "install one, or leave out --compile")


def use_threads(count: int) -> None:
    """Compute with ``count`` CPU threads; 0 leaves the library's choice."""
    if count:
        torch.set_num_threads(count)
