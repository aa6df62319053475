"""The whole audit as it is typed: what it writes, its exit code, and that it tells no identifier."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.audit.run import AuditOptions, audit, plan
from lungct.cli.app import command
from lungct.cli.contract import run_app
from lungct.errors import OutputExists
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.manifest import read_manifest
from lungct.io.nifti import read_nifti, write_nifti
from lungct.phantom.dataset import PhantomOptions, write_phantoms
from lungct.preprocessing.cases import Running
from lungct.types import Volume

FILES = {"findings.csv", "measures.csv", "summary.json", "worst.png", "manifest.ndjson"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients; the second's scan stands in the test set again as the first's, with other labels."""
    folder = tmp_path_factory.mktemp("planted") / "raw"
    write_phantoms(folder, PhantomOptions(patients=3, size=96, slices=110, seed=5))
    table = folder / "DLCSD24_Annotations.csv"
    nodules = read_nodules(table)
    noisy = read_nifti(folder / "PHANTOM_0002.nii.gz")
    grain = np.random.default_rng(0).normal(0, 15, noisy.hu.shape)
    write_nifti(folder / "PHANTOM_0009.nii.gz", Volume((noisy.hu + grain).astype(np.int16), noisy.grid))
    copied = [
        replace(one, case_id="PHANTOM_0009", patient_id="PHANTOM_0009", malignant=1, split="test")
        for one in nodules
        if one.case_id == "PHANTOM_0002"
    ]
    assert copied, "the second phantom has nodules"
    write_nodules(table, [*(replace(one, split="train", malignant=0) for one in nodules), *copied])
    (folder / "manifest.ndjson").unlink()
    return folder


def lungct(*arguments: object) -> int:
    return run_app(command(), [str(one) for one in arguments])


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "findings.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_it_writes_what_it_found(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    found = audit([planted], out, AuditOptions())
    assert {path.name for path in out.iterdir()} == FILES
    kinds = [row["kind"] for row in rows_of(out)]
    assert [one for one in kinds if "duplicate" in one] == ["leak-duplicate", "duplicate-conflict", "near-duplicate"]
    assert kinds == [one.kind for one in found.findings]
    near = next(row for row in rows_of(out) if row["kind"] == "near-duplicate")
    assert (near["case"], near["other"]) == ("PHANTOM_0002", "PHANTOM_0009")
    assert 0.72 <= float(near["value"]) < 1
    assert near["what_to_do"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["schema"] == "lungct.audit/1"
    assert summary["data_sets"][0]["scans"] == 4
    assert summary["findings"]["error"] == 2
    assert summary["kinds"]["near-duplicate"]["count"] == 1
    with open(out / "measures.csv", newline="") as stream:
        measures = {row["name"]: row for row in csv.DictReader(stream)}
    assert float(measures["PHANTOM_0001"]["lung_l"]) > 2
    assert read_manifest(out)[0]["command"] == "audit"


def test_resolve_lists_what_to_leave_out(planted: Path, tmp_path: Path) -> None:
    audit([planted], tmp_path / "a", AuditOptions(duplicates="resolve"))
    lines = (tmp_path / "a" / "exclude.txt").read_text().splitlines()
    assert [line.split("#")[0].strip() for line in lines] == ["PHANTOM_0002", "PHANTOM_0009"]
    audit([planted], tmp_path / "b", AuditOptions(noise="resolve", noise_percentile=50))
    left = [line.split("#")[0].strip() for line in (tmp_path / "b" / "exclude.txt").read_text().splitlines()]
    assert len(left) == 2
    assert "PHANTOM_0009" in left


def test_several_data_sets_are_numbered(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "again", ignore=shutil.ignore_patterns("*_0009*", "*_0003*", "*.csv"))
    out = tmp_path / "audit"
    audit([planted, tmp_path / "again"], out, AuditOptions(duplicates="resolve"))
    pairs = {(row["case"], row["other"]) for row in rows_of(out) if row["kind"] == "exact-duplicate"}
    assert pairs == {(f"2/PHANTOM_000{n}", f"1/PHANTOM_000{n}") for n in (1, 2)}
    assert "PHANTOM_0001  #" in (out / "exclude-2.txt").read_text()
    assert "PHANTOM_0001  #" not in (out / "exclude.txt").read_text()


def test_same_bytes_with_workers_and_again(planted: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 0), ("b", 2)):
        audit([planted], tmp_path / name, AuditOptions(duplicates="resolve"), Running(workers=workers))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_exit_codes_and_json(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        code = lungct("audit", planted, tmp_path / "audit", "--json", "--overwrite", *arguments)
        shown = capsys.readouterr()
        return code, json.loads(shown.out), shown.err

    code, document, _ = run()
    assert (code, document["status"], document["exit_code"]) == (0, "ok", 0)
    assert document["data"]["findings"]["error"] == 2
    code, document, error = run("--fail-on", "error")
    assert (code, document["status"], document["exit_code"]) == (3, "refused", 3)
    assert document["output"] == str(tmp_path / "audit")
    assert error.splitlines()[-1] == "lungct: ERROR: --fail-on error: 2 errors"
    code, document, error = run("--fail-on", "warning")
    assert code == 3
    assert "2 errors and" in error
    assert (tmp_path / "audit" / "findings.csv").is_file()


def test_clean_data_pass_the_strictest_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantoms(tmp_path / "raw", PhantomOptions(patients=3, size=96, slices=110, seed=5))
    assert lungct("audit", tmp_path / "raw", tmp_path / "audit", "--fail-on", "warning") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'audit'}\n"
    assert rows_of(tmp_path / "audit") == []
    assert lungct("audit", tmp_path / "raw", tmp_path / "audit") == 6


def test_the_output_never_takes_a_further_data_set_with_it(planted: Path, tmp_path: Path) -> None:
    shutil.copytree(planted, tmp_path / "more")
    assert lungct("audit", planted, tmp_path / "more", "--also", tmp_path / "more", "--overwrite") == 2
    assert (tmp_path / "more" / "PHANTOM_0001.nii.gz").is_file()


def test_plan_counts_and_writes_nothing(planted: Path, tmp_path: Path) -> None:
    (found,) = plan([planted], tmp_path / "audit", AuditOptions())["data_sets"]
    assert (found["scans"], found["patients"], found["splits"]["test"]) == (4, 4, 1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "mine").touch()
    with pytest.raises(OutputExists):
        plan([planted], tmp_path / "audit", AuditOptions())


def test_no_identifier_comes_out(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that cannot be read the finding says why, and names neither file nor folder."""
    name = "Doe_Jane-20240131-1.2.826.0.1.3680043.2.77"
    folder = tmp_path / "hospital" / name
    folder.mkdir(parents=True)
    whole = (planted / "PHANTOM_0001.nii.gz").read_bytes()
    (folder / f"{name}.nii.gz").write_bytes(whole[:5000])
    assert lungct("audit", tmp_path / "hospital", tmp_path / "audit", "-v") == 0
    (row,) = rows_of(tmp_path / "audit")
    assert row["kind"] == "unreadable"
    assert row["value"].startswith("not readable as NIfTI")
    shown = capsys.readouterr()
    written = b"".join(path.read_bytes() for path in (tmp_path / "audit").iterdir())
    for secret in ("Doe", "20240131", "3680043"):
        assert secret.encode() not in written
        assert secret not in shown.out + shown.err
