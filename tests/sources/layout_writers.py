"""Writes each layout of volumes and of 2D images exactly as it is published, small, with spheres of known place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from lungct.io.nifti import write_nifti
from lungct.types import Grid, Volume

from .dicom_writer import write_slice
from .spheres import Disc, Sphere, scan_of, slice_of

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1001"
DLCS_HEADER = "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split"
DL_HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,Spacing_mm_px_,"
    "Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)


def write_volume(path: Path, volume: Volume) -> None:
    """NIfTI in the grid's own index order, other formats by ITK."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".nii.gz"):
        write_nifti(path, volume, reorient=False)
        return
    image = SimpleITK.GetImageFromArray(volume.hu)
    image.SetSpacing(volume.grid.spacing_mm_zyx[::-1])
    image.SetOrigin(volume.grid.origin_lps_mm)
    image.SetDirection(volume.grid.direction)
    SimpleITK.WriteImage(image, str(path))


def write_dlcs_table(path: Path, file_name: str, spheres: Sequence[Sphere]) -> None:
    rows = [
        f"DLCS_0001,DLCS_0001_{number:02d},{file_name},{','.join(map(repr, one.center_lps_mm))},"
        f"{','.join([repr(one.diameter_mm)] * 3)},0,train"
        for number, one in enumerate(spheres, 1)
    ]
    path.write_text("\n".join([DLCS_HEADER, *rows]) + "\n")


def write_points_table(path: Path, series: str, spheres: Sequence[Sphere]) -> None:
    rows = [f"{series},{','.join(map(repr, one.center_lps_mm))},{one.diameter_mm!r}" for one in spheres]
    path.write_text("\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *rows]) + "\n")


def dlcs24(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_volume(folder / "subset_01" / "DLCS_0001.nii.gz", scan_of(grid, spheres))
    write_dlcs_table(folder / "DLCSD24_Annotations.csv", "DLCS_0001.nii.gz", spheres)


def volumes_mha(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_volume(folder / "DLCS_0001.mha", scan_of(grid, spheres))
    write_dlcs_table(folder / "nodules.csv", "DLCS_0001.mha", spheres)


def volumes_nrrd(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_volume(folder / "DLCS_0001.nrrd", scan_of(grid, spheres))
    write_dlcs_table(folder / "nodules.csv", "DLCS_0001.nii.gz", spheres)


def luna16(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_volume(folder / "subset3" / f"{UID}.mhd", scan_of(grid, spheres))
    write_volume(folder / "seg-lungs-LUNA16" / f"{UID}.mhd", scan_of(grid, []))
    write_points_table(folder / "annotations.csv", UID, spheres)
    x, y, z = spheres[0].center_lps_mm
    write_points_table(folder / "annotations_excluded.csv", UID, [Sphere((x + 9, y, z), -1.0)])
    (folder / "seriesuids.csv").write_text(f"{UID}\n")


def nlst_3d(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_volume(folder / "scans" / f"{UID}.nii.gz", scan_of(grid, spheres))
    write_points_table(folder / "nlst_3d_annotations.csv", UID, spheres)


def write_dicom_series(folder: Path, volume: Volume, series: str) -> None:
    """One file per slice of a volume, named against the order of the slices."""
    grid, matrix = volume.grid, volume.grid.direction_matrix
    for z, plane in enumerate(volume.hu):
        write_slice(
            folder / f"1-{len(volume.hu) - z:03d}.dcm",
            0.0,
            SeriesInstanceUID=series,
            SOPInstanceUID=f"{series}.{z}",
            PatientID="100012",
            InstanceNumber=z,
            ImagePositionPatient=[round(float(one), 6) for one in grid.to_world((0, 0, z))],
            ImageOrientationPatient=[round(float(one), 10) for one in (*matrix[:, 0], *matrix[:, 1])],
            PixelSpacing=[grid.spacing_mm_zyx[1], grid.spacing_mm_zyx[2]],
            **stored(plane),
        )


def stored(plane: NDArray[np.int16]) -> dict[str, object]:
    """The elements of a slice in HU, stored as HU + 1024."""
    rows, columns = plane.shape
    data = (plane.astype(np.int32) + 1024).astype(np.uint16).tobytes()
    return {"Rows": rows, "Columns": columns, "RescaleSlope": 1, "RescaleIntercept": -1024, "PixelData": data}


def nlst_3d_dicom(folder: Path, grid: Grid, spheres: list[Sphere]) -> None:
    write_dicom_series(folder / "100012" / "T0", scan_of(grid, spheres), UID)
    write_points_table(folder / "nlst_3d_annotations.csv", UID, spheres)


VOLUMES = {one.__name__: one for one in (dlcs24, volumes_mha, volumes_nrrd, luna16, nlst_3d, nlst_3d_dicom)}


def nlst_slices_npy(folder: Path, discs: list[list[Disc]]) -> None:
    rows = ["pid,dcm_series,uid_slice,x,y,width,height"]
    for number, mine in enumerate(discs):
        np.save(folder / f"{UID}.{number}.npy", slice_of(mine, seed=number))
        rows += [f"10001{number},{UID},{UID}.{number},{box}" for box in map(_xywh, mine)]
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")


def nlst_slices_dicom(folder: Path, discs: list[list[Disc]]) -> None:
    nlst_slices_npy(folder, discs)
    for number, mine in enumerate(discs):
        (folder / f"{UID}.{number}.npy").unlink()
        name = f"{UID}.{number}.dcm" if number else "1-001.dcm"
        write_slice(folder / "dicom" / name, 0.0, SOPInstanceUID=f"{UID}.{number}", **stored(slice_of(mine)))


def sybil(folder: Path, discs: list[list[Disc]]) -> None:
    """One box is there twice, as in the published file."""
    document: dict[str, dict[str, list[dict[str, float]]]] = {}
    for number, mine in enumerate(discs):
        hu = slice_of(mine, seed=number)
        series, sop = f"{UID}.{number}", f"{UID}.{number}.1"
        write_slice(
            folder / "dicom" / f"1-{number:03d}.dcm",
            0.0,
            SOPInstanceUID=sop,
            SeriesInstanceUID=series,
            PatientID=f"10001{number}",
            **stored(hu),
        )
        boxes = [_fractions(one, hu.shape) for one in mine]
        document[series] = {sop: boxes + boxes[:1]}
    (folder / "nlst_annotations.json").write_text(json.dumps(document))


def deeplesion(folder: Path, discs: list[list[Disc]]) -> None:
    """The first type is -1, ages are NaN."""
    rows = [DL_HEADER]
    for number, mine in enumerate(discs, 1):
        hu = slice_of(mine, seed=number)
        file = folder / "Images_png" / f"{number:06d}_01_02" / "109.png"
        file.parent.mkdir(parents=True)
        Image.fromarray((hu.astype(np.int32) + 32768).astype(np.uint16)).save(file)
        for one in mine:
            box = ", ".join(repr(value + 0.5) for value in one.box_xyxy_px)
            kind = -1 if number == 1 else 5
            cells = (
                f"{number:06d}_01_02_109.png,{number},1,2,109",
                '"1, 1, 1, 1, 1, 1, 1, 1"',
                f'"{box}","{one.diameter_px}, 3.5","0.4, 0.2, 0.4",{kind},0,"103, 115","0.8, 0.8, 5"',
                f'"{hu.shape[1]}, {hu.shape[0]}","-175, 275",F,NaN,{number % 3 + 1}',
            )
            rows.append(",".join(cells))
    (folder / "DL_info.csv").write_text("\n".join(rows) + "\n")


def nrrd_pairs(folder: Path, discs: list[list[Disc]]) -> None:
    """Crops in HU and in stored values; two nodules of one slice are two pairs."""
    rows = ["case,malignancy,patient"]
    for name in ("full", "crops"):
        (folder / name).mkdir(parents=True)
    for number, mine in enumerate(discs):
        hu = slice_of(mine, seed=number)
        for place, one in enumerate(mine):
            x1, y1, x2, y2 = map(int, one.box_xyxy_px)
            stem = f"case_{number}_{place}"
            for where, part in (("full", hu), ("crops", hu[y1:y2, x1:x2] + np.int16(1024 * (number % 2)))):
                SimpleITK.WriteImage(SimpleITK.GetImageFromArray(part), str(folder / where / f"{stem}.nrrd"))
            rows.append(f"{stem},{place + 2},patient_{number}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def coco2d_gray(folder: Path, discs: list[list[Disc]]) -> None:
    """8-bit PNG, string ids, category 0."""
    names = _coco(folder, discs, "png", "instances.json")
    for number, (name, mine) in enumerate(zip(names, discs, strict=True)):
        gray = np.rint((slice_of(mine, seed=number) + 1000) / 1400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(gray).save(folder / "images" / name)


def coco2d_deep(folder: Path, discs: list[list[Disc]]) -> None:
    """16-bit PNG of HU + 1024."""
    names = _coco(folder, discs, "png", "annotations/instances.json")
    for number, (name, mine) in enumerate(zip(names, discs, strict=True)):
        Image.fromarray((slice_of(mine, seed=number) + 1024).astype(np.uint16)).save(folder / "images" / name)


def coco2d_npy(folder: Path, discs: list[list[Disc]]) -> None:
    for number, (name, mine) in enumerate(zip(_coco(folder, discs, "npy", "all.json"), discs, strict=True)):
        np.save(folder / "images" / name, slice_of(mine, seed=number).astype(np.float32))


def voc2d(folder: Path, discs: list[list[Disc]]) -> None:
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for number, mine in enumerate(discs):
        hu = slice_of(mine, seed=number)
        gray = np.rint((hu + 1000) / 1400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(gray).save(folder / "images" / f"{number:04d}.png")
        objects = "".join(
            "<object><name>PN</name><bndbox>"
            + "".join(
                f"<{tag}>{value - 0.5}</{tag}>"
                for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), one.box_xyxy_px, strict=True)
            )
            + "</bndbox></object>"
            for one in mine
        )
        size = f"<size><width>{hu.shape[1]}</width><height>{hu.shape[0]}</height></size>"
        (folder / "annotations" / f"{number:04d}.xml").write_text(f"<annotation>{size}{objects}</annotation>")


FLAT = {
    one.__name__: one
    for one in (
        nlst_slices_npy,
        nlst_slices_dicom,
        sybil,
        deeplesion,
        nrrd_pairs,
        coco2d_gray,
        coco2d_deep,
        coco2d_npy,
        voc2d,
    )
}


def _coco(folder: Path, discs: list[list[Disc]], suffix: str, table: str) -> list[str]:
    (folder / "images").mkdir(parents=True)
    height, width = slice_of([]).shape
    images = [
        {"id": f"{number:04d}", "file_name": f"image_{number:04d}.{suffix}", "width": width, "height": height}
        for number in range(len(discs))
    ]
    notes = [
        {
            "id": 10 * number + place,
            "image_id": f"{number:04d}",
            "category_id": 0,
            "bbox": [float(value) for value in _xywh(one).split(",")],
            "iscrowd": 0,
        }
        for number, mine in enumerate(discs)
        for place, one in enumerate(mine)
    ]
    (folder / table).parent.mkdir(exist_ok=True)
    document = {"categories": [{"id": 0, "name": "PN"}], "annotations": notes, "images": images}
    (folder / table).write_text(json.dumps(document))
    return [str(image["file_name"]) for image in images]


def _xywh(one: Disc) -> str:
    x1, y1, x2, y2 = one.box_xyxy_px
    return f"{x1!r},{y1!r},{x2 - x1!r},{y2 - y1!r}"


def _fractions(one: Disc, shape: tuple[int, ...]) -> dict[str, float]:
    (x1, y1, x2, y2), (rows, columns) = one.box_xyxy_px, shape
    return {"x": x1 / columns, "y": y1 / rows, "width": (x2 - x1) / columns, "height": (y2 - y1) / rows}
