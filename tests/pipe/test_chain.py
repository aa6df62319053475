"""The chain as a user types it in a shell; each line is also a usage example."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHAIN = (
    "lungct preprocess P/ out/ --spacing native --workers 2"
    " | lungct select-slices - slices/ --negatives 2"
    " | lungct train - run/ --preset tiny --epochs 1"
)
STAGES = {
    "phantom": ("lungct phantom {}/ --patients 6 --size 96 --slices 40 --seed 3", ""),
    "preprocess": ("lungct preprocess P/ {}/ --spacing native", "--resume"),
    "select-slices": ("lungct select-slices out/ {}/ --negatives 2", "--resume"),
    "train": ("lungct train slices/ {}/ --preset tiny --epochs 3", "--resume"),
    "predict": ("lungct predict run/ slices/test.json {}.json", ""),
    "evaluate": ("lungct evaluate slices/test.json detections.json {}/", ""),
    "explain": ("lungct explain run/ slices/test.json {}/ --method scorecam --max-images 4", "--resume"),
    "segmentation-game": ("lungct segmentation-game heatmaps/ slices/test.json {}/", ""),
    "report": ("lungct report . {}.html", ""),
}
PRODUCTS = {"predict": "{}.json", "report": "{}.html", "explain": "{}/scorecam"}


def shell(line: str, folder: Path) -> str:
    """Run one shell line with ``lungct`` on the PATH; returns its stdout."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole chain was typed once."""
    folder = tmp_path_factory.mktemp("chain")
    shell("lungct phantom P/ --patients 6 --size 96 --slices 40 --seed 3", folder)
    assert shell(CHAIN, folder) == "run\n"
    shell("lungct predict", folder)
    shell("lungct evaluate --bootstrap 100", folder)
    shell("lungct explain --method eigencam --max-images 4 --score-threshold 0.01", folder)
    shell("lungct segmentation-game --bootstrap 100", folder)
    shell("lungct report", folder)
    return folder


def test_bare_commands_find_the_conventional_places(work: Path) -> None:
    places = {"P", "out", "slices", "run", "detections.json", "evaluation", "heatmaps", "game", "report.html"}
    assert places <= set(os.listdir(work))


def test_stdout_is_the_path_and_json_is_one_object(work: Path) -> None:
    assert shell("lungct evaluate slices/test.json detections.json e1 --bootstrap 100", work) == "e1\n"
    document = json.loads(shell("lungct evaluate slices/test.json detections.json e2 --bootstrap 100 --json", work))
    assert document["output"] == "e2"
    assert shell("lungct select-slices out/ s2 --json | lungct train - r2 --preset tiny --dry-run --json", work)


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every data file; a model's log may hold times and is left out."""
    every = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    files = [path for path in every if path.is_file() and path.name != "metrics.ndjson"]
    return {os.path.relpath(path, folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_bytes_through_the_chain(work: Path, tmp_path: Path) -> None:
    shell("lungct phantom P/ --patients 6 --size 96 --slices 40 --seed 3", tmp_path)
    shell(CHAIN, tmp_path)
    shell("lungct predict", tmp_path)
    for name in ("P", "out", "slices"):
        assert digests(work / name) == digests(tmp_path / name)
    assert (work / "detections.json").read_bytes() == (tmp_path / "detections.json").read_bytes()


@pytest.mark.parametrize("stage", STAGES)
def test_sigkill_leaves_nothing_broken_and_the_rerun_ends_the_same(stage: str, work: Path) -> None:
    line, resume = STAGES[stage]
    whole, cut = (work / PRODUCTS.get(stage, "{}").format(f"{name}-{stage}") for name in ("whole", "cut"))
    started = time.perf_counter()
    shell(line.format(f"whole-{stage}"), work)
    lasted = time.perf_counter() - started
    for share in (0.5, 0.8, 0.95):
        _run_and_kill(line.format(f"cut-{stage}"), work, lasted * share)
        if cut.exists():
            break
        assert not cut.exists()
    if not cut.exists():
        shell(f"{line.format(f'cut-{stage}')} {resume}", work)
    assert digests(cut) == digests(whole)
    assert not [path for path in work.rglob("*") if path.name.endswith((".partial", ".tmp"))]


def _run_and_kill(line: str, folder: Path, seconds: float) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(["bash", "-c", line], cwd=folder, env=_environment(), start_new_session=True, **quiet)
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
