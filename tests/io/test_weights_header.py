"""The model card in a safetensors file: what the library wrote is read without it; what is broken is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lungct.errors import InputError
from lungct.io.weights_header import read_card


def test_reads_what_safetensors_wrote(tmp_path: Path) -> None:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    safetensors.numpy.save_file(weights, tmp_path / "m.safetensors", {"lungct": '{"detector": "retinanet"}'})
    assert read_card(tmp_path / "m.safetensors") == {"detector": "retinanet"}


@pytest.mark.parametrize("metadata", [None, {"other": "1"}])
def test_weights_without_a_card_are_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    safetensors.numpy.save_file({"a": np.zeros(1, np.float32)}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(InputError, match="no model card"):
        read_card(tmp_path / "m.safetensors")


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 64, (20).to_bytes(8, "little") + b'{"__metadata__"'])
def test_a_broken_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="not readable as safetensors"):
        read_card(tmp_path / "m.safetensors")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_card(tmp_path / "m.safetensors")
