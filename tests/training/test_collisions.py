"""Runs that a script starts beside each other: into one folder only one of them writes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungct.errors import OutputExists
from lungct.io import atomic
from lungct.training.train import train
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD, _options


def test_a_folder_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=4, val=0, size=72)
    with atomic.staged_folder(tmp_path / "run", command="train") as folder:
        (folder / "precious").write_text("theirs")
        for more in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputExists, match="another process is writing"):
                train(tmp_path / "slices", tmp_path / "run", _options(epochs=1), execution=ONE_THREAD, **more)
        assert (folder / "precious").read_text() == "theirs"


@pytest.mark.slow
def test_of_two_commands_one_trains_and_one_says_so(tmp_path: Path) -> None:
    write_disks(tmp_path / "slices", train=6, val=0, size=72)
    line = [
        "train",
        "slices",
        "run",
        "--preset",
        "tiny",
        "--epochs",
        "6",
        "--crop",
        "64",
        "--device",
        "cpu",
        "--threads",
        "1",
    ]
    first = subprocess.Popen(
        [sys.executable, "-m", "lungct", *line], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / ".run.partial").exists() and first.poll() is None:
        time.sleep(0.05)
    second = subprocess.run(
        [sys.executable, "-m", "lungct", *line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said, complained = first.communicate()
    assert (first.returncode, said) == (0, "run\n"), complained
    assert second.returncode == 6
    assert second.stderr.count("\n") == 1
    assert "another process is writing" in second.stderr or "exists and is not empty" in second.stderr
