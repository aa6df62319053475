"""The demo's shortest version runs every stage and ends with a report; killed halfway, it goes on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

DEMO = [sys.executable, "-m", "lungct", "demo", "demo", "--quick", "--json"]


def _run(folder: Path, *more: str) -> Any:
    return subprocess.run([*DEMO, *more], cwd=folder, capture_output=True, text=True, check=False)


def test_killed_demo_resumes_to_a_report(tmp_path: Path) -> None:
    running = subprocess.Popen(DEMO, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / ".demo.partial" / "slices").exists() and running.poll() is None:
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "demo").exists()

    other = _run(tmp_path, "--resume", "--seed", "1")
    assert other.returncode == 2
    assert "was started with" in other.stderr

    done = _run(tmp_path, "--resume")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["output"] == "demo/report.html"
    assert "done before: lungct phantom" in done.stderr
    metrics = document["data"]["evaluate"]
    assert metrics["boxes"] > 0
    assert metrics["ap"]["0.1"] > 0, "the detector learned nothing at all"
    for made in ("run/model.safetensors", "heatmaps/eigencam", "heatmaps/scorecam", "game/summary.json", "report.html"):
        assert (tmp_path / "demo" / made).exists(), made
    summary = json.loads((tmp_path / "demo" / "game" / "summary.json").read_text())
    assert {"eigencam", "scorecam"} <= {row["method"] for row in summary["rows"]}

    again = _run(tmp_path)
    assert again.returncode == 6
    assert "--overwrite" in again.stderr
