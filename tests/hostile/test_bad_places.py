"""Places that cannot be read or written, full disks, and Ctrl-C at any moment: nothing half-written stays."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.trial import assert_refused, run
from tests.preprocessing.tiny_dlcs import write_dlcs

LUNGCT = [sys.executable, "-m", "lungct"]
NOBODY = 65534


@pytest.fixture(scope="module")
def dlcs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places") / "dlcs"
    write_dlcs(folder)
    return folder


def test_input_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_refused(run(capfd, "preprocess", tmp_path / "none", tmp_path / "out"), 3, tmp_path / "out")


def test_input_is_empty(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    assert_refused(run(capfd, "preprocess", tmp_path / "raw", tmp_path / "out"), 3, tmp_path / "out")


def test_input_is_a_link_to_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").symlink_to(tmp_path / "raw")
    assert_refused(run(capfd, "preprocess", tmp_path / "raw", tmp_path / "out"), 3, tmp_path / "out")


def test_folder_with_a_link_to_itself_is_read_once(
    dlcs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    write_dlcs(raw)
    (raw / "again").symlink_to(raw)
    outcome = run(capfd, "preprocess", raw, tmp_path / "out", "--spacing", "native")
    assert outcome.code in (0, 3), outcome.stderr
    assert "bug" not in outcome.stderr


def test_scan_is_a_dangling_link(dlcs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "case_1.nii.gz").symlink_to(tmp_path / "nowhere.nii.gz")
    assert_refused(run(capfd, "preprocess", raw, tmp_path / "out"), 3, tmp_path / "out")


def test_scan_is_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw" / "case_1.nii.gz").mkdir(parents=True)
    assert_refused(run(capfd, "preprocess", tmp_path / "raw", tmp_path / "out"), 3, tmp_path / "out")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter and write to, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read and write everything, so it takes off its rights for the while."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_scan_may_not_be_read(dlcs: Path, public: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "preprocess", dlcs, public / "imports-are-done").code == 0
    write_dlcs(public / "raw")
    (public / "raw" / "CASE_1.nii.gz").chmod(0)
    with as_nobody():
        outcome = run(capfd, "preprocess", public / "raw", public / "out")
    assert_refused(outcome, 3, public / "out")
    assert "CASE_1" in outcome.stderr


def test_output_may_not_be_written(dlcs: Path, public: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "preprocess", dlcs, public / "imports-are-done").code == 0
    write_dlcs(public / "raw")
    (public / "locked").mkdir(mode=0o500)
    with as_nobody():
        outcome = run(capfd, "preprocess", public / "raw", public / "locked" / "out")
    (public / "locked").chmod(0o700)
    assert_refused(outcome, 3, public / "locked" / "out")
    assert ".partial" not in outcome.stderr


def test_output_lies_in_a_file(dlcs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("here")
    outcome = run(capfd, "preprocess", dlcs, tmp_path / "file" / "out")
    assert outcome.code == 3
    assert ".partial" not in outcome.stderr
    assert (tmp_path / "file").read_text() == "here"


def test_output_is_a_file(dlcs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("precious")
    assert run(capfd, "preprocess", dlcs, tmp_path / "out", "--overwrite").code == 6
    assert (tmp_path / "out").read_text() == "precious"


def test_output_is_the_input(dlcs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(dlcs.iterdir())
    assert run(capfd, "preprocess", dlcs, dlcs, "--overwrite").code == 2
    assert sorted(dlcs.iterdir()) == before


def test_full_disk(dlcs: Path, tmp_path: Path) -> None:
    """A file that cannot grow past 20 kB stands for a disk without room."""

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [*LUNGCT, "preprocess", str(dlcs), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=small_files,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1
    assert "CASE_" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("share", "workers"), [(0.3, 0), (0.5, 0), (0.7, 0), (0.85, 0), (0.95, 0), (0.8, 2)])
def test_ctrl_c_and_resume(share: float, workers: int, dlcs: Path, tmp_path: Path) -> None:
    line = [*LUNGCT, "preprocess", str(dlcs), str(tmp_path / "out"), "--spacing", "1,1,1", "--workers", str(workers)]
    started = time.perf_counter()
    subprocess.run([*line[:5], str(tmp_path / "whole"), *line[6:]], check=True, capture_output=True)
    usual = time.perf_counter() - started
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(share * usual)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("it was done before the signal came")
    assert process.returncode in (130, -signal.SIGINT), said  # -SIGINT: before the command line took over
    if not (tmp_path / "out").exists():  # else the signal came between the last rename and the end
        subprocess.run([*line, "--resume"], check=True, capture_output=True)
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "whole")


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}
