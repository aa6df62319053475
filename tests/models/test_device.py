"""Which number format and device a choice stands for."""

from __future__ import annotations

import pytest
import torch

from lungct.errors import UsageError
from lungct.models.device import amp_dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(("tiles", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_takes_bf16_on_a_cpu_with_matrix_units_alone(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert amp_dtype("auto", CPU) is expected


def test_a_torch_without_the_probe_means_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert amp_dtype("auto", CPU) is None


def test_what_is_asked_for_is_what_is_taken() -> None:
    assert amp_dtype("bf16", CPU) is torch.bfloat16
    assert amp_dtype("off", CPU) is None
    with pytest.raises(UsageError, match="needs a GPU"):
        amp_dtype("fp16", CPU)
