"""Identifiers planted in every tag, name and table come out nowhere: no file, no line on a stream, no traceback."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from lungct.cli.app import command
from lungct.cli.contract import run_app

from .planted import FOLDER, KEYWORDS, NAME, NUMBER, PLANTED, STEM, UID, WRITERS, planted_slice

LOUD = ("-vv", "--debug")


@pytest.fixture
def lungct(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the program in this process; exit code, and all that went to stdout and stderr, by whomever."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        capfd.readouterr()
        code = run_app(command(), [str(one) for one in arguments])
        told = capfd.readouterr()
        return code, told.out + told.err

    return run


def text_of(folder: Path) -> str:
    """Names and contents of all files below a folder, packed ones unpacked."""
    found = []
    for path in sorted(folder.rglob("*")):
        found.append(str(path.relative_to(folder)))
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                found += [name + archive.read(name).decode("latin-1") for name in archive.namelist()]
        elif path.is_file():
            data = path.read_bytes()
            found.append((gzip.decompress(data) if path.suffix == ".gz" else data).decode("latin-1"))
    return "\n".join(found)


def assert_clean(text: str) -> None:
    for word in PLANTED:
        at = text.find(word)
        assert at < 0, text[max(0, at - 200) : at + 200]


def test_every_text_element_is_planted(tmp_path: Path) -> None:
    """The test of the test: the words are in the files, in over a thousand elements and at the end of a long header."""
    planted_slice(tmp_path / "a", 0)
    data = pydicom.dcmread(tmp_path / "a")
    assert len(data) > 1000
    assert all(str(data[name].value) == value.strip() for name, value in list(KEYWORDS.items())[::50])
    raw = (tmp_path / "a").read_bytes()
    assert len(raw) > 1 << 16
    for word in (NAME, NUMBER, UID, "068Y"):
        assert word.encode() in raw


@pytest.mark.parametrize("layout", WRITERS)
def test_nothing_comes_out(tmp_path: Path, layout: str, lungct: Callable[..., tuple[int, str]]) -> None:
    WRITERS[layout](tmp_path / "in")
    source = ("--source", layout, "--spacing", "2,2,2.5")
    code, told = lungct("preprocess", tmp_path / "in", tmp_path / "out", *source, *LOUD)
    assert code == 0, told
    has_boxes = layout not in ("dicom", "volumes")
    if has_boxes:
        is_flat = (tmp_path / "out" / "slices.json").is_file()
        more_slices = () if is_flat else ("--negatives", "1")
        code, more = lungct("select-slices", tmp_path / "out", tmp_path / "slices", *more_slices, *LOUD, "--json")
        assert code == 0, more
        told += more
    written = text_of(tmp_path / "out") + (text_of(tmp_path / "slices") if has_boxes else "")
    assert_clean(told.replace(str(tmp_path), ""))
    assert_clean(written)
    assert re.search(r"(case|image)-[0-9a-f]{10}", written)


@pytest.mark.parametrize("layout", ["dicom", "volumes", "dlcs24"])
def test_scans_as_they_came_give_nothing_away_either(
    tmp_path: Path, layout: str, lungct: Callable[..., tuple[int, str]]
) -> None:
    WRITERS[layout](tmp_path / "in")
    for arguments in (
        ("select-slices", tmp_path / "in", tmp_path / "slices", *LOUD),
        ("select-slices", tmp_path / "in", tmp_path / "slices2", "--dry-run", "--json"),
        ("preprocess", tmp_path / "in", tmp_path / "out", "--dry-run", "--json", *LOUD),
        ("info", *LOUD),
    ):
        _, told = lungct(*arguments)
        assert_clean(told.replace(str(tmp_path), ""))
    if layout == "dlcs24":
        assert_clean(text_of(tmp_path / "slices"))


def cut_dicom(folder: Path) -> None:
    (path,) = folder.rglob("*.3.dcm")
    path.write_bytes(path.read_bytes()[:-100])


def lose_slices(folder: Path) -> None:
    for number in (2, 3):
        for path in folder.rglob(f"*.{number}.dcm"):
            path.unlink()


def mix_sizes(folder: Path) -> None:
    planted_slice(folder / FOLDER / "odd", 9, Rows=20, Columns=88)


def break_volumes(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".csv":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_volume_data(folder: Path) -> None:
    for path in folder.rglob("*.nii.gz"):
        path.unlink()
        path.mkdir()


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in folder.rglob(name):
            path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")

    return change


FAULTS = {
    "pixels cut": ("dicom", cut_dicom),
    "slices missing": ("dicom", lose_slices),
    "sizes mixed": ("dicom", mix_sizes),
    "volumes cut": ("volumes", break_volumes),
    "volumes cut with table": ("dlcs24", break_volumes),
    "folders called volumes": ("volumes", lose_volume_data),
    "columns shifted": ("dlcs24", edit("*.csv", f",{NUMBER}", f",,{NAME},{NUMBER}")),
    "id twice": ("dlcs24", edit("*.csv", f"{NUMBER} 1,{STEM}1", f"{NUMBER} 0,{STEM}0")),
    "size negative": ("dlcs24", edit("*.csv", ",9,9,9,", ",9,-9,9,")),
    "patient twice": ("dlcs24", edit("*.csv", f"{STEM}1", f"{STEM}0")),
    "split unknown": ("dlcs24", edit("*.csv", ",9,9,9,1,", f",9,9,9,1,{NAME}")),
    "other files": ("dlcs24", edit("*.csv", STEM, NAME)),
    "xml cut": ("lidc", edit("*.xml", "</LidcReadMessage>", "")),
    "xml wrong": ("lidc", edit("*.xml", "<xCoord>", f"<xCoord>{NAME}")),
    "box without area": ("lung-pet-ct-dx", edit("*.xml", "<xmax>21", "<xmax>9")),
    "box of words": ("lung-pet-ct-dx", edit("*.xml", "<xmax>21", f"<xmax>{NAME}")),
    "box of words in 2D": ("voc2d", edit("*.xml", "<xmax>21", f"<xmax>{NAME}")),
    "row lost": ("voc2d", edit("slices.csv", f"{STEM}.2.png", f"{NAME}.png")),
    "cell of words": ("voc2d", edit("slices.csv", ",5.5", f",{NAME}")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_give_nothing_away(tmp_path: Path, fault: str, lungct: Callable[..., tuple[int, str]]) -> None:
    layout, spoil = FAULTS[fault]
    WRITERS[layout](tmp_path / "in")
    spoil(tmp_path / "in")
    codes = []
    for more in ((), ("--json", "--keep-going")):
        for verb, name in (("preprocess", "out"), ("select-slices", "slices")):
            code, told = lungct(verb, tmp_path / "in", tmp_path / name, *LOUD, *more)
            codes.append(code)
            assert_clean(told.replace(str(tmp_path), ""))
            for kept in (tmp_path / name, tmp_path / f".{name}.partial"):
                if kept.exists():
                    assert_clean(text_of(kept))
                    shutil.rmtree(kept)
    assert 3 in codes


def test_worker_processes_tell_no_more(tmp_path: Path) -> None:
    WRITERS["volumes"](tmp_path / "in")
    (victim,) = tmp_path.rglob("*.mha")
    victim.write_bytes(b"no volume")
    line = [sys.executable, "-m", "lungct", "preprocess", str(tmp_path / "in"), str(tmp_path / "out")]
    told = subprocess.run([*line, "--workers", "2", *LOUD, "--keep-going"], capture_output=True, text=True, check=False)
    assert told.returncode == 5
    assert "case-" in told.stderr
    assert_clean((told.stdout + told.stderr).replace(str(tmp_path), ""))


def test_identifiers_are_kept_when_asked_for(tmp_path: Path, lungct: Callable[..., tuple[int, str]]) -> None:
    WRITERS["dicom"](tmp_path / "in")
    code, told = lungct("preprocess", tmp_path / "in", tmp_path / "out", "--keep-ids")
    assert code == 0, told
    (scan,) = (tmp_path / "out" / "scans").iterdir()
    assert scan.name == f"{UID}.7.nii.gz"
    assert json.loads((tmp_path / "out" / "manifest.ndjson").read_text().splitlines()[0])["options"]["reading"][
        "naming"
    ] == {"keep_ids": True}


def test_the_key_decides_and_is_nowhere(tmp_path: Path, lungct: Callable[..., tuple[int, str]]) -> None:
    WRITERS["dlcs24"](tmp_path / "in")
    (tmp_path / "key").write_text("a-very-secret-key\n")
    names = {}
    for number, more in enumerate(((), ("--key-file", tmp_path / "key"), ("--key-file", tmp_path / "key"))):
        code, told = lungct("preprocess", tmp_path / "in", tmp_path / f"out{number}", *more, *LOUD)
        assert code == 0, told
        assert "very-secret" not in told + text_of(tmp_path / f"out{number}")
        names[number] = sorted(one.name for one in (tmp_path / f"out{number}" / "scans").iterdir())
    assert names[0] != names[1] == names[2]
    os.environ["LUNGCT_PSEUDONYM_KEY"] = "a-very-secret-key"
    try:
        assert lungct("preprocess", tmp_path / "in", tmp_path / "out3")[0] == 0
    finally:
        del os.environ["LUNGCT_PSEUDONYM_KEY"]
    assert sorted(one.name for one in (tmp_path / "out3" / "scans").iterdir()) == names[1]
    (tmp_path / "key").write_text("\n")
    for key in (tmp_path / "key", tmp_path / "nowhere"):
        code, told = lungct("preprocess", tmp_path / "in", tmp_path / "out4", "--key-file", key)
        assert code == 3
        assert "key file" in told
