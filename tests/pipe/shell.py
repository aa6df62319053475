"""Shell lines as a user types them, with ``lungct`` on the PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """One thread, and the programs of the environment that the tests run in."""
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "OMP_NUM_THREADS": "1", **more}


def shell(line: str, folder: Path, **more: str) -> str:
    """Run one line; returns its stdout."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=environment(**more), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(line: str, folder: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start one line in a process group of its own."""
    return subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(**more),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
