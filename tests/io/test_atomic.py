"""Outputs are complete or absent, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lungct.errors import OutputExists
from lungct.io.atomic import MANIFEST, atomic_file, staged_folder, write_json


def test_file_is_absent_when_the_block_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_file(tmp_path / "a") as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(OutputExists):
        write_json(tmp_path / "a.json", [2], overwrite=False)
    assert (tmp_path / "a.json").read_text() == "[1]\n"


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert list(tmp_path.iterdir()) == []


def test_folder_appears_only_when_whole(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out") as staging:
        (staging / "x").write_text("1")
        assert not (tmp_path / "out").exists()
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert os.listdir(tmp_path / "out") == ["x"]


def _stop_halfway(out: Path, *, resume: bool = False) -> None:
    with staged_folder(out, resume=resume) as staging:
        (staging / "first").write_text("1")
        raise RuntimeError


def test_failed_folder_can_be_resumed_or_started_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError):
        _stop_halfway(out)
    assert not out.exists()
    with staged_folder(out, resume=True) as staging:
        assert (staging / "first").read_text() == "1"
    with pytest.raises(RuntimeError):
        _stop_halfway(tmp_path / "other")
    with staged_folder(tmp_path / "other") as staging:
        assert not (staging / "first").exists()


def test_existing_output_needs_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged_folder(out) as staging:
        (staging / MANIFEST).write_text('{"command": "phantom"}\n')
        (staging / "old").write_text("1")
    with pytest.raises(OutputExists, match="--overwrite"), staged_folder(out):
        pass
    with staged_folder(out, overwrite=True) as staging:
        (staging / MANIFEST).write_text('{"command": "phantom"}\n')
    assert os.listdir(out) == [MANIFEST]
    assert os.listdir(tmp_path) == ["out"]


def test_overwrite_leaves_a_strangers_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_text("x")
    with pytest.raises(OutputExists, match="not made by lungct"), staged_folder(tmp_path / "holiday", overwrite=True):
        pass
    assert (tmp_path / "holiday" / "photo.jpg").read_text() == "x"


def test_overwrite_replaces_only_what_the_same_command_made(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out", command="phantom") as staging:
        (staging / MANIFEST).write_text('{"command": "phantom"}\n')
    other = staged_folder(tmp_path / "out", command="train", overwrite=True)
    with pytest.raises(OutputExists, match="made by lungct phantom"), other:
        pass
    with staged_folder(tmp_path / "out", command="phantom", overwrite=True) as staging:
        (staging / MANIFEST).write_text('{"command": "phantom"}\n')


def test_link_to_another_place_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    with staged_folder(tmp_path / "run") as staging:
        (staging / "x").write_text("1")
    assert (tmp_path / "run").is_symlink()
    assert os.listdir(tmp_path / "disk" / "run") == ["x"]


def test_empty_folder_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with staged_folder(tmp_path / "out") as staging:
        (staging / "x").write_text("1")
    assert os.listdir(tmp_path / "out") == ["x"]


def test_two_writers_of_one_output(tmp_path: Path) -> None:
    def enter_again() -> None:
        with staged_folder(tmp_path / "out"):
            pass

    with staged_folder(tmp_path / "out"), pytest.raises(OutputExists, match="another process"):
        enter_again()


def test_sigkill_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lungct.io.atomic import staged_folder\n"
        "with staged_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'x').write_text('1'); time.sleep(60)\n"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")])
    while not (tmp_path / ".out.partial" / "x").exists():
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "out").exists()
    with staged_folder(tmp_path / "out", resume=True) as staging:
        assert (staging / "x").read_text() == "1"
