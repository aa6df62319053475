"""Runs in shards as people start them: a SLURM array, Snakemake, and what a kill at any moment leaves."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .shell import environment, shell, start
from .snakemake_shim import make, read_snakefile

HERE = Path(__file__).parent
SCRIPT = HERE / "slurm_array.sh"
SHARES = 2


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, and what whole runs make of them."""
    folder = tmp_path_factory.mktemp("shards")
    shell("lungct phantom dlcs --patients 6 --size 64 --slices 24 --seed 3", folder)
    shell("lungct preprocess dlcs whole --spacing native", folder)
    shell("lungct select-slices whole whole-slices --negatives 4", folder)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Relative path -> digest of every file but the hidden ones that Snakemake adds."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".snakemake")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def task(number: int) -> dict[str, str]:
    return {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": str(number)}


def test_slurm_array_with_tasks_killed_and_run_again(work: Path) -> None:
    line = f"bash {SCRIPT} {SHARES} preprocess dlcs out --spacing native"
    started = time.perf_counter()
    shell(line, work, **task(0))
    lasted = time.perf_counter() - started
    for share in (0.6, 1.0):
        running = start(line, work, **task(1))
        time.sleep(lasted * share)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    shell(line, work, **task(1))
    before = digests(work / "out.shard-0")
    assert shell(line, work, **task(0)) == "", "a task that is done is not done again"
    assert digests(work / "out.shard-0") == before
    assert shell("lungct merge out.shard-* out", work) == "out\n"
    assert digests(work / "out") == digests(work / "whole")
    assert not list(work.glob(".*"))


def test_slurm_script_keeps_what_the_scheduler_reads() -> None:
    text = SCRIPT.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert all(line.startswith("#") for line in text.split("set -euo")[0].splitlines()), "sbatch stops at a command"
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_snakefile_by_its_rules(work: Path, tmp_path: Path) -> None:
    rules, names = read_snakefile(HERE / "Snakefile", {"source": str(work / "dlcs"), "shards": str(SHARES)})
    lines: list[str] = []
    make(rules, names, tmp_path, lambda line: lines.append(shell(line, tmp_path)))
    assert len(lines) == 2 * (SHARES + 1)
    assert digests(tmp_path / "out") == digests(work / "whole")
    assert digests(tmp_path / "slices") == digests(work / "whole-slices")


@pytest.mark.slow
def test_snakefile_by_snakemake(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("snakemake")
    options = f"--cores 2 --quiet all --config source={work / 'dlcs'} shards=3"
    shell(f"{sys.executable} -m snakemake -s {HERE / 'Snakefile'} {options}", tmp_path)
    assert digests(tmp_path / "slices") == digests(work / "whole-slices")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_killed_parent(work: Path) -> None:
    line = [sys.executable, "-m", "lungct", "preprocess", "dlcs", "killed", "--spacing", "native", "--workers", "2"]
    running = subprocess.Popen(line, cwd=work, env=environment(), start_new_session=True)
    wait_for(lambda: len(list(work.glob(".killed.partial/.done/*.json"))) > 0)
    running.kill()
    running.wait()
    wait_for(lambda: not living(session=running.pid))
    shell("lungct preprocess dlcs killed --spacing native --resume", work)
    assert digests(work / "killed") == digests(work / "whole")


def wait_for(event: object) -> None:
    deadline = time.monotonic() + 60
    while not event():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def living(session: int) -> list[str]:
    """Processes of a session that are not yet dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, of = rest.split()[:4]
        if int(of) == session and state not in "ZX":
            found.append(name)
    return found
