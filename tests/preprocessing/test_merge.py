"""All shards of a run joined are the whole run, byte for byte; what is not all shards of one run is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lungct.ct.select import Rule
from lungct.errors import InputError, OutputExists
from lungct.io.boxes_csv import read_nodules, write_nodules
from lungct.io.coco import read_truth
from lungct.io.points_csv import write_points
from lungct.preprocessing.cases import Running
from lungct.preprocessing.merge import merge, plan_merge
from lungct.preprocessing.preprocess import PreprocessOptions, plan_preprocess, preprocess
from lungct.preprocessing.scan_slices import SelectOptions
from lungct.preprocessing.scans import VolumeOptions
from lungct.preprocessing.select_slices import plan_select_slices, select_slices
from lungct.preprocessing.shard import Shard
from lungct.types import Finding

from .tiny_classes import write_coco, write_deeplesion
from .tiny_dlcs import write_dlcs
from .tiny_voc import write_voc

COUNT = 3
NATIVE = PreprocessOptions(volume=VolumeOptions(None))
PICTURES = SelectOptions(Rule("all"), png="lung", profiles=True)
Stage = Callable[[Path, Path, Running], Any]


def stage_preprocess(source: Path, out: Path, running: Running) -> None:
    preprocess(source, out, NATIVE, running)


def stage_select(source: Path, out: Path, running: Running) -> None:
    select_slices(source, out, PICTURES, running)


def stage_select_flat(source: Path, out: Path, running: Running) -> None:
    select_slices(source, out, SelectOptions(context=1, png="thesis"), running)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shards_of(stage: Stage, source: Path, place: Path, **running: Any) -> list[Path]:
    folders = [place / f"shard-{index}" for index in range(COUNT)]
    for index, folder in enumerate(folders):
        stage(source, folder, Running(shard=Shard(index, COUNT), **running))
    return folders


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Seven cases, two of them of one patient; one nodule has a class of its own."""
    folder = tmp_path / "many"
    write_dlcs(folder, patients=7)
    rows = read_nodules(folder / "DLCSD24_Annotations.csv")
    other: dict[str, Any] = {"CASE_5": {"patient_id": "CASE_3"}, "CASE_6": {"label": "subsolid"}}
    changed = [replace(one, **other.get(one.case_id, {})) for one in rows]
    write_nodules(folder / "DLCSD24_Annotations.csv", changed)
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    write_voc(tmp_path / "voc", series=6)
    return tmp_path / "voc"


def check_same(stage: Stage, source: Path, place: Path) -> None:
    stage(source, place / "whole", Running())
    folders = shards_of(stage, source, place)
    assert all(len(files_of(folder)) > 2 for folder in folders), "the test's own shards are too empty to say anything"
    summary = merge([folders[2], folders[0], folders[1]], place / "merged")
    assert files_of(place / "merged") == files_of(place / "whole")
    assert (summary.shards, summary.left_out) == (COUNT, 0)
    assert not list(place.glob(".*"))


def test_preprocess_of_scans(many: Path, tmp_path: Path) -> None:
    check_same(stage_preprocess, many, tmp_path)


def test_tables_and_columns_that_only_some_shards_have(many: Path, tmp_path: Path) -> None:
    rows = read_nodules(many / "DLCSD24_Annotations.csv")
    for number, (case, name) in enumerate({"CASE_1": "z", "CASE_6": "a", "CASE_4": "z"}.items()):
        rows = [replace(one, attributes={name: number}) if one.case_id == case else one for one in rows]
    (many / "DLCSD24_Annotations.csv").unlink()
    write_nodules(many / "nodules.csv", rows)
    write_points(many / "excluded.csv", [(f"CASE_{n}", Finding((1.0, 2.0, n), -1.0)) for n in (5, 3)])
    check_same(stage_preprocess, many, tmp_path)
    heads = [(tmp_path / f"shard-{i}" / "nodules.csv").read_text().splitlines()[0] for i in range(COUNT)]
    assert len(set(heads)) == COUNT, "the columns of the shards do not differ in this test"
    assert [(tmp_path / f"shard-{i}" / "excluded.csv").is_file() for i in range(COUNT)] == [True, False, False]
    assert [one.attributes for one in read_nodules(tmp_path / "merged" / "nodules.csv") if one.attributes] == [
        *[{"z": 0}] * 2,
        {"z": 2},
        {"a": 1},
    ]


def test_select_of_scans_and_every_patient_in_one_split(many: Path, tmp_path: Path) -> None:
    check_same(stage_select, many, tmp_path)
    splits = [
        {one.patient_id for one in read_truth(tmp_path / "merged" / f"{s}.json").images} for s in ("train", "val")
    ]
    assert not splits[0] & splits[1]


CLASSES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "voc2d": (partial(write_voc, series=6), ["solid", "subsolid"]),
    "coco2d": (write_coco, ["solid", "subsolid"]),
    "deeplesion": (write_deeplesion, ["bone", "liver", "lung"]),
}


@pytest.mark.parametrize("layout", CLASSES)
def test_images_of_several_classes(layout: str, tmp_path: Path) -> None:
    """Shards differ in the classes that they hold, and agree in their numbers."""
    write, classes = CLASSES[layout]
    write(tmp_path / "raw")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    check_same(
        lambda source, out, running: preprocess(source, out, running=running), tmp_path / "raw", tmp_path / "first"
    )
    check_same(stage_select_flat, tmp_path / "first" / "merged", tmp_path / "second")
    truth = read_truth(tmp_path / "first" / "merged" / "slices.json")
    assert list(truth.categories.values()) == classes
    held = [json.loads((tmp_path / "first" / f"shard-{i}" / "slices.json").read_text()) for i in range(COUNT)]
    assert len({frozenset(note["category_id"] for note in one["annotations"]) for one in held}) > 1


def test_a_resumed_shard_with_workers(many: Path, tmp_path: Path) -> None:
    stage_preprocess(many, tmp_path / "whole", Running())
    folders = shards_of(stage_preprocess, many, tmp_path)
    whole = (many / "CASE_5.nii.gz").read_bytes()
    (many / "CASE_5.nii.gz").write_bytes(b"broken")
    with pytest.raises(InputError):
        stage_preprocess(many, tmp_path / "late", Running(shard=Shard(0, COUNT)))
    assert (tmp_path / ".late.partial" / "scans" / "CASE_3.nii.gz").is_file()
    (many / "CASE_5.nii.gz").write_bytes(whole)
    stage_preprocess(many, tmp_path / "late", Running(workers=2, resume=True, shard=Shard(0, COUNT)))
    merge([tmp_path / "late", *folders[1:]], tmp_path / "merged")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")


def test_cases_left_out_and_shards_of_none(many: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (many / f"CASE_{number}.nii.gz").write_bytes(b"broken")
    stage_preprocess(many, tmp_path / "whole", Running(keep_going=True))
    folders = [tmp_path / f"{index}" for index in range(9)]
    for index, folder in enumerate(folders):
        stage_preprocess(many, folder, Running(keep_going=True, shard=Shard(index, 9)))
    assert min(len(files_of(folder)) for folder in folders) == 2, "no shard without a case in this test"
    assert merge(folders, tmp_path / "merged").left_out == 3
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")


def test_plans_agree_with_shards(many: Path, tmp_path: Path) -> None:
    scans = [plan_preprocess(many, tmp_path / "x", NATIVE, shard=Shard(i, COUNT)).scans for i in range(COUNT)]
    plans = [plan_select_slices(many, tmp_path / "x", PICTURES, shard=Shard(i, COUNT)) for i in range(COUNT)]
    assert sum(scans) == 7
    assert [sum(plan["scans"].values()) for plan in plans] == scans
    assert sum(sum(plan["patients"].values()) for plan in plans) == 6
    folders = shards_of(stage_preprocess, many, tmp_path)
    assert plan_merge(folders, tmp_path / "merged").facts() == {
        "command": "preprocess",
        "shards": COUNT,
        "cases": 7,
        "left_out": 0,
    }
    assert not (tmp_path / "merged").exists()


def test_the_same_scan_in_two_splits_is_found_across_shards(tmp_path: Path) -> None:
    source = tmp_path / "twins"
    write_dlcs(source, patients=7)
    for number in range(2, 8):
        (source / f"CASE_{number}.nii.gz").write_bytes((source / "CASE_1.nii.gz").read_bytes())
    folders = [tmp_path / f"{index}" for index in range(40)]
    for index, folder in enumerate(folders):
        select_slices(source, folder, SelectOptions(), Running(shard=Shard(index, 40)))
    with pytest.raises(InputError, match="have the same voxels"):
        merge(folders, tmp_path / "merged")


@pytest.fixture
def shards(many: Path, tmp_path: Path) -> list[Path]:
    return shards_of(stage_preprocess, many, tmp_path)


def refused(folders: list[Path], words: str) -> None:
    place = folders[0].parent
    with pytest.raises(InputError, match=words) as caught:
        merge(folders, place / "merged")
    assert "\n" not in str(caught.value)
    assert not (place / "merged").exists()
    assert not list(place.glob(".*.partial"))


def test_missing_and_double_shards_are_refused(shards: list[Path], tmp_path: Path) -> None:
    refused(shards[:1], "missing: 1/3, 2/3")
    refused([shards[0], shards[2]], "missing: 1/3")
    shutil.copytree(shards[1], tmp_path / "again")
    refused([*shards, tmp_path / "again"], "again: shard 1/3, and so is another")


def test_shards_of_another_run_are_refused(many: Path, shards: list[Path], tmp_path: Path) -> None:
    preprocess(many, tmp_path / "b", PreprocessOptions(hu_clip=(-900, 100)), Running(shard=Shard(1, COUNT)))
    refused([shards[0], tmp_path / "b", shards[2]], "b: made with other options than .*: volume, hu_clip")
    stage_preprocess(many, tmp_path / "c", Running(shard=Shard(1, 4)))
    refused([shards[0], tmp_path / "c", shards[2]], "c: one of 4 shards, .* is one of 3")
    stage_select(many, tmp_path / "d", Running(shard=Shard(1, COUNT)))
    refused([shards[0], tmp_path / "d", shards[2]], "d: made by another command .*: select-slices, not preprocess")
    rows = read_nodules(many / "DLCSD24_Annotations.csv")
    write_nodules(many / "DLCSD24_Annotations.csv", rows[:-1], extra=False)
    stage_preprocess(many, tmp_path / "e", Running(shard=Shard(1, COUNT)))
    refused([shards[0], tmp_path / "e", shards[2]], "e: made from another source")
    edit_head(shards[1], version="0.0.0")
    refused(shards, "made by another version of lungct .*: 0.0.0, not ")


def edit_head(folder: Path, **changed: Any) -> None:
    head, *records = (folder / "manifest.ndjson").read_text().splitlines()
    text = json.dumps({**json.loads(head), **changed})
    (folder / "manifest.ndjson").write_text("\n".join([text, *records]) + "\n")


def test_broken_shards_are_refused(shards: list[Path], tmp_path: Path) -> None:
    refused([*shards[:2], tmp_path / "nowhere"], "no such folder")
    lost = next(shards[1].glob("scans/*"))
    lost.rename(tmp_path / "lost")
    refused(shards, r"shard-1: scans/CASE_\d.nii.gz, which its manifest names, is missing")
    (tmp_path / "lost").rename(lost)
    shutil.copy(lost, shards[2] / "scans")
    refused(shards, "is in another shard, too")
    (shards[2] / "scans" / lost.name).unlink()
    manifest = shards[2] / "manifest.ndjson"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    refused(shards, "is it cut short")
    manifest.unlink()
    refused(shards, "no manifest.ndjson")


@pytest.mark.parametrize("text", ["", "patient-id\n", "patient-id,ct_nifti_file\nx,CASE_99.nii.gz\n", "\x00\n"])
def test_changed_tables_are_refused(shards: list[Path], text: str) -> None:
    (shards[1] / "nodules.csv").write_text(text)
    refused(shards, r"nodules\.csv")


def test_lost_and_changed_coco_files_are_refused(flat: Path, tmp_path: Path) -> None:
    preprocess(flat, tmp_path / "out")
    folders = shards_of(stage_select_flat, tmp_path / "out", tmp_path)
    path = folders[1] / "train.json"
    whole = path.read_text()
    for text in (whole[:-20], "[]", whole.replace('"images/', '"elsewhere/'), whole.replace('"image_id"', '"image"')):
        path.write_text(text)
        refused(folders, "train.json, val.json of a shard is broken")
    path.write_text(whole.replace('"solid"', '"round"'))
    refused(folders, "shard-1: its COCO files have other categories")
    path.unlink()
    refused(folders, "shard-1: train.json is missing")


def test_a_whole_run_is_its_own_only_shard(many: Path, tmp_path: Path) -> None:
    stage_preprocess(many, tmp_path / "whole", Running())
    merge([tmp_path / "whole"], tmp_path / "merged")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    with pytest.raises(OutputExists):
        merge([tmp_path / "whole"], tmp_path / "merged")
    merge([tmp_path / "whole"], tmp_path / "merged", overwrite=True)


def test_no_slice_in_any_shard(many: Path, tmp_path: Path) -> None:
    (many / "DLCSD24_Annotations.csv").unlink()
    refused(shards_of(stage_select, many, tmp_path), "no slice in any shard")


def test_files_are_linked_or_copied(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = shards_of(stage_preprocess, many, tmp_path)
    merge(folders, tmp_path / "linked")

    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    merge(folders, tmp_path / "copied")
    assert files_of(tmp_path / "copied") == files_of(tmp_path / "linked")
    assert {one.stat().st_nlink for one in (tmp_path / "linked" / "scans").iterdir()} == {2}
    assert {one.stat().st_nlink for one in (tmp_path / "copied" / "scans").iterdir()} == {1}
