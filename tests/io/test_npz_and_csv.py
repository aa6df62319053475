"""Slice and heatmap NPZ, nodule CSV and manifests: round trips, the same bytes, broken files."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungct.errors import InputError
from lungct.io import boxes_csv, npz
from lungct.io.manifest import read_manifest, write_manifest
from lungct.types import Heatmaps, Nodule

NODULE = Nodule(
    "P1_01", "P1", "P1", (-10.1, 20.25, 3.3333333333333335), (4.0, 5.0, 6.0), 1, 4.0, "nodule", "val", "dlcs24"
)


def test_slice_round_trip_and_bytes(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.int16).reshape(3, 2, 4)
    npz.write_slice(tmp_path / "a.npz", image)
    npz.write_slice(tmp_path / "b.npz", image)
    assert (npz.read_slice(tmp_path / "a.npz") == image).all()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x93NUMPY"])
def test_broken_slice_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz"):
        npz.read_slice(tmp_path / "a.npz")


def test_npy_under_the_name_of_a_slice_is_named(tmp_path: Path) -> None:
    with open(tmp_path / "a.npz", "wb") as stream:
        np.save(stream, np.zeros((3, 4, 4), np.int16))
    with pytest.raises(InputError, match="not an NPZ"):
        npz.read_slice(tmp_path / "a.npz")


def test_slice_never_unpickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image_hu=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="NPZ"):
        npz.read_slice(tmp_path / "a.npz")


def test_heatmaps_round_trip(tmp_path: Path) -> None:
    maps = Heatmaps(
        image_id=7,
        method="eigencam",
        heatmaps=np.random.default_rng(0).random((2, 5, 6)).astype(np.float16),
        raw=np.ones((2, 3, 3), np.float32),
        boxes_xyxy_px=np.array([[0, 0, 2, 2], [1, 1, 3, 4]], np.float32),
        scores=np.array([0.9, 0.5], np.float32),
        labels=np.array([1, 1]),
        matched_annotation_id=np.array([3, -1]),
        layers="fpn.0",
        flags=("", "constant"),
        provenance={"seed": 1},
    )
    npz.write_heatmaps(tmp_path / "7.npz", maps)
    back = npz.read_heatmaps(tmp_path / "7.npz")
    assert back.image_id == 7
    assert (back.heatmaps == maps.heatmaps).all()
    assert back.flags == maps.flags
    assert back.provenance == maps.provenance


def test_another_tools_heatmaps_need_only_maps_and_boxes(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    np.savez(tmp_path / "theirs" / "12.npz", heatmaps=np.zeros((1, 4, 4)), boxes_xyxy_px=np.zeros((1, 4)))
    back = npz.read_heatmaps(tmp_path / "theirs" / "12.npz")
    assert (back.method, back.image_id) == ("theirs", "12")
    assert npz.read_heatmaps(tmp_path / "theirs" / "12.npz", {7: "nodule"}).labels.tolist() == [7]
    with pytest.raises(InputError, match="labels"):
        npz.read_heatmaps(tmp_path / "theirs" / "12.npz", {7: "nodule", 8: "mass"})


def test_nodules_round_trip_exactly(tmp_path: Path) -> None:
    boxes_csv.write_nodules(tmp_path / "n.csv", [NODULE, replace(NODULE, malignant=None, malignancy=None)])
    assert boxes_csv.read_nodules(tmp_path / "n.csv") == [NODULE, replace(NODULE, malignant=None, malignancy=None)]


@pytest.mark.parametrize("name", ["a.mhd", "a.nrrd", "a.NII.GZ", "a.nii", "subset0/a.mha", "a"])
def test_nodules_name_their_scan_in_any_volume_format(tmp_path: Path, name: str) -> None:
    boxes_csv.write_nodules(tmp_path / "n.csv", [replace(NODULE, case_id="STEM")])
    (tmp_path / "n.csv").write_text((tmp_path / "n.csv").read_text().replace("STEM.nii.gz", name))
    assert [nodule.case_id for nodule in boxes_csv.read_nodules(tmp_path / "n.csv")] == ["a"]


def test_strict_layout_has_exactly_the_published_header(tmp_path: Path) -> None:
    boxes_csv.write_nodules(tmp_path / "n.csv", [NODULE], extra=False)
    header = (tmp_path / "n.csv").read_text().splitlines()[0]
    assert header == ("patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [("4.0,5.0", "0,5.0", "line 2"), ("20.25", "x", "coordY"), ("20.25", "nan", "finite"), ("coordZ", "z", "coordZ")],
)
def test_broken_nodule_row_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    boxes_csv.write_nodules(tmp_path / "n.csv", [NODULE])
    (tmp_path / "n.csv").write_text((tmp_path / "n.csv").read_text().replace(old, new))
    with pytest.raises(InputError, match=complaint):
        boxes_csv.read_nodules(tmp_path / "n.csv")


@pytest.mark.real
def test_the_real_dlcs_csv(real_data: Path) -> None:
    first, second = boxes_csv.read_nodules(real_data / "dlcs24" / "DLCSD24_Annotations.csv")
    assert first.center_lps_mm == (-106.552734375, -63.837890625, -211.6771850585937)
    assert (second.size_mm, second.malignant, second.split) == ((6.240234375, 6.240234375, 6.25), 0, "train")


def test_manifest_round_trip(tmp_path: Path) -> None:
    write_manifest(tmp_path, "phantom", {"seed": 1}, [{"schema": "lungct.scan/1", "case_id": "a"}])
    head, scan = read_manifest(tmp_path)
    assert (head["command"], head["options"], scan["case_id"]) == ("phantom", {"seed": 1}, "a")
    with pytest.raises(InputError, match="manifest"):
        read_manifest(tmp_path / "nowhere")


MAP = {"heatmaps": np.zeros((1, 4, 4)), "boxes_xyxy_px": np.zeros((1, 4))}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"saliency": np.zeros((1, 4, 4))}, r"found saliency.*heatmaps \(D, Y, X\) in 0\.\.1"),
        ({**MAP, "heatmaps": np.zeros((4, 4))}, r"heatmaps \(4, 4\).*boxes_xyxy_px \(D, 4\) in pixel edges"),
        ({**MAP, "heatmaps": np.full((1, 4, 4), "a")}, "heatmaps is <U1, expected numbers"),
        ({**MAP, "scores": np.zeros(3)}, r"scores is \(3,\), and there are 1 heatmaps"),
        ({**MAP, "image_id": np.arange(3)}, r"image_id is \(3,\), expected one value"),
        ({**MAP, "provenance": np.array("made by hand")}, "provenance is no JSON object"),
    ],
)
def test_a_foreign_map_that_does_not_fit_is_told_the_layout(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "1.npz", **arrays)
    with pytest.raises(InputError, match=said):
        npz.read_heatmaps(tmp_path / "1.npz")
    np.savez(tmp_path / "1.npz", **MAP)
    assert npz.read_heatmaps(tmp_path / "1.npz").image_id == "1"


READ = """
import resource, sys
from pathlib import Path
from lungct.errors import InputError
from lungct.io.npz import read_heatmaps
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_heatmaps(Path(sys.argv[1]))
except InputError:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_member_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("heatmaps.npy", bytes(200_000_000))
        archive.writestr("boxes_xyxy_px.npy", bytes(10))
    content = bytearray(path.read_bytes())
    size_at = content.find(b"PK\x01\x02") + 24  # in the directory's entry of the first member
    content[size_at : size_at + 4] = struct.pack("<I", 1000)
    path.write_bytes(content)
    read = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    assert int(read.stdout) < 50, "MiB more"
