"""The limit of a GPU's memory, and what is said where memory runs out."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lungct.errors import EnvironmentError_, UsageError
from lungct.training.find_lr import find_lr
from lungct.training.memory import advice, limit_gpu_memory, parse_bytes
from lungct.training.options import Execution, TrainOptions, preset_options
from lungct.training.plan import plan
from lungct.training.train import train
from tests.training.disks import write_disks


def test_sizes() -> None:
    assert parse_bytes("6GB") == 6_000_000_000
    assert parse_bytes("1.5 gib") == 3 * 2**29
    assert parse_bytes("4096") == 4096
    for wrong in ("6G", "GB", "-1GB", "0", "6 GB or so"):
        with pytest.raises(UsageError, match="no size such as 6GB"):
            parse_bytes(wrong)


def test_the_limit_is_a_share_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=24 * 10**9))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: told.append(given))
    device = torch.device("cuda:1")
    limit_gpu_memory(device, 6 * 10**9)
    limit_gpu_memory(device, 40 * 10**9)
    limit_gpu_memory(device, 0)
    assert told == [(0.25, device), (1.0, device)]


def test_on_a_cpu_the_limit_says_that_it_is_none(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lungct")
    logger.propagate = True
    with caplog.at_level(logging.WARNING, "lungct"):
        limit_gpu_memory(torch.device("cpu"), 10**9)
    assert "no bearing on cpu" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_keeps_the_limit() -> None:
    device = torch.device("cuda")
    limit_gpu_memory(device, 10**9)
    try:
        with (
            pytest.raises(EnvironmentError_, match=r"under the limit of 1 GB.*a higher --max-gpu-memory"),
            advice(TrainOptions(), 10**9),
        ):
            torch.empty(2 * 10**9, dtype=torch.uint8, device=device)
        torch.empty(10**8, dtype=torch.uint8, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def test_an_exhausted_memory_says_what_takes_less() -> None:
    options = TrainOptions(batch=6, crop_px=512, amp="off")
    wanted = (
        r"out of memory at --batch 6, crops of 512 px, --amp off: try --batch 3 --accumulate 2, or --crop 256, or "
        r"--magnify 1, or --amp auto"
    )
    with pytest.raises(EnvironmentError_, match=wanted), advice(options):
        torch.empty(2**50, dtype=torch.uint8)
    with pytest.raises(EnvironmentError_, match="under the limit of 6 GB"), advice(options, 6 * 10**9):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="something else"), advice(options):
        raise RuntimeError("something else")


def test_a_run_that_needs_too_much_ends_with_advice(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=2, val=0, size=72)
    options = preset_options("tiny", {"magnify": 1e5, "crop_px": 0, "epochs": 1, "anchors": "6,12,24"})
    how = Execution(device="cpu", threads=1)
    for take in (
        lambda: train(tmp_path / "slices", tmp_path / "run", options, execution=how),
        lambda: find_lr(tmp_path / "slices", options, execution=how),
        lambda: plan(tmp_path / "slices", options, how),
    ):
        with pytest.raises(EnvironmentError_, match=r"whole slices x 100000.*--crop 224, or --magnify 1"):
            take()
    assert not (tmp_path / "run").exists()
