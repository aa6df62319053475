"""What all tests share: where the real data is, and no network."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker and what it starts compute on one thread: threads of several that wait for each other stand still.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, for tests marked ``real``."""
    folder = os.environ.get("LUNGCT_TEST_DATA", "")
    if not folder:
        pytest.skip("LUNGCT_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    real_connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "::1", "localhost"):
            real_connect(self, address)
            return
        raise AssertionError(f"a test reached for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
