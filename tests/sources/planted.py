"""Sources with an identifier in every place that can hold one, and what must never come out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from .dicom_writer import write_slice
from .lidc_writer import Ball, reading_xml

NAME, NUMBER, DATE, UID = "ZQDOE^JANE", "ZQ4711", "19551230", "1.2.826.0.1.3680043.8.777.55"
PLANTED = ("ZQ", "zq", "DOE", "JANE", DATE, "1955-12-30", UID, "068Y")
FOLDER, STEM = f"{NAME} {DATE}", f"{NUMBER} {DATE} J\u00e4ne"
DLCS_HEADER = "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split"
_BY_VR = {
    "AE": "ZQAE",
    "AS": "068Y",
    "CS": "ZQCS",
    "DA": DATE,
    "DT": f"{DATE}120000",
    "LO": NUMBER,
    "LT": f"{NAME} lives here. " * 20,
    "PN": NAME,
    "SH": NUMBER,
    "ST": f"{NAME} lives here",
    "UC": NAME,
    "UI": f"{UID}.1",
    "UR": f"http://{NUMBER}.example",
    "UT": f"{NAME} lives here. " * 20,
}
_KEPT = {"SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "PhotometricInterpretation"} | {
    "SpecificCharacterSet"
}
KEYWORDS = {
    entry[4]: _BY_VR[entry[0]]
    for tag, entry in DicomDictionary.items()
    if entry[0] in _BY_VR and entry[4] and tag >> 16 > 2 and entry[4] not in _KEPT
}
"""Every attribute that holds text -> what is planted there."""
PERSONAL = {"PatientID": NUMBER, "PatientName": NAME, "PatientBirthDate": DATE, "StudyInstanceUID": f"{UID}.1"}
SHAPE = (6, 40, 44)


def planted_slice(path: Path, z: int, uid: str = f"{UID}.7", **changes: Any) -> str:
    """One CT slice with text in elements of every kind, also in a sequence and in private ones; its SOPInstanceUID.

    The first slice has text in all of over a thousand elements, others in every twentieth.
    """
    sop_uid = f"{uid}.{z}"
    rows, columns = SHAPE[1:]
    pixels = np.random.default_rng(z).integers(100, 2000, (rows, columns)).astype(np.uint16)
    own = {"SOPInstanceUID": sop_uid, "SeriesInstanceUID": uid, "Rows": rows, "Columns": columns, "InstanceNumber": z}
    said = KEYWORDS if z == 0 else {**dict(list(KEYWORDS.items())[::20]), **PERSONAL}
    write_slice(path, 2.5 * z, **{**own, "PixelData": pixels.tobytes(), **said, **changes})
    data = pydicom.dcmread(path)
    inner = Dataset()
    inner.PatientName, inner.OtherPatientIDs, inner.ReferencedSOPInstanceUID = NAME, NUMBER, f"{UID}.3"
    data.RequestAttributesSequence = Sequence([inner])
    data.private_block(0x0029, "ZQSOMEBODY", create=True).add_new(0x10, "LO", NAME)
    data.save_as(path)
    return sop_uid


def dicom(folder: Path) -> None:
    for z in range(SHAPE[0]):
        planted_slice(folder / FOLDER / NUMBER / f"{NAME}.{z}.dcm", z)
    planted_slice(folder / FOLDER / NUMBER / f"{NAME}.twice.dcm", 2, SOPInstanceUID=f"{UID}.8", InstanceNumber=99)
    planted_slice(folder / FOLDER / f"{NAME}.scout", 0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (folder / FOLDER / f"{NAME}.txt").write_text(NAME)


def lidc(folder: Path) -> None:
    ball = Ball((2.0, 20.0, 22.0), 7.0, {0: {}, 1: {}, 2: {}})
    uids = [planted_slice(folder / FOLDER / f"{z}.dcm", z) for z in range(SHAPE[0])]
    text = reading_xml([ball], uids + [f"{UID}.9"] * 30, f"{UID}.7").replace("anon0", NAME).replace("Nodule 0", NUMBER)
    (folder / FOLDER / f"{STEM}.xml").write_text(text, encoding="utf-8")


def lung_pet_ct_dx(folder: Path) -> None:
    for z in range(SHAPE[0]):
        uid = planted_slice(folder / "Lung-PET-CT-Dx" / FOLDER / f"{z}.dcm", z)
        box = "<bndbox><xmin>9</xmin><ymin>8</ymin><xmax>21</xmax><ymax>22</ymax></bndbox>"
        note = folder / "Annotation" / FOLDER / f"{uid}.xml"
        note.parent.mkdir(parents=True, exist_ok=True)
        said = f"<folder>{FOLDER}</folder><filename>{NAME}.jpg</filename><path>/home/{NAME}</path>"
        note.write_text(f"<annotation>{said}<object><name>A</name>{box}</object></annotation>")


def _volume(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.random.default_rng(seed).integers(-1000, 400, (20, 30, 34)).astype(np.int16)
    if path.name.endswith(".nii.gz"):
        image = nibabel.Nifti1Image(hu, np.diag([1.0, 1.0, 2.0, 1.0]))
        image.header["descrip"], image.header["aux_file"], image.header["intent_name"] = f"{NAME}", NUMBER, "ZQ"
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{NAME} {DATE}".encode()))
        nibabel.save(image, path)
        return
    image = SimpleITK.GetImageFromArray(hu)
    image.SetMetaData("Patient_Name", f"{NAME} {DATE}")
    SimpleITK.WriteImage(image, str(path))


def volumes(folder: Path) -> None:
    for seed, name in enumerate(
        (f"{FOLDER}/{STEM}.nii.gz", f"{NAME}.{DATE}.mha", f"{UID}.nrrd", "a/ct.nii.gz", "b/ct.nii.gz")
    ):
        _volume(folder / name, seed)


def dlcs24(folder: Path) -> None:
    for number in range(3):
        _volume(folder / FOLDER / f"{STEM}{number}.nii.gz", number)
    rows = [f"{NAME}{n},{NUMBER} {n},{STEM}{n}.nii.gz,-15,-14,20,9,9,9,1," for n in range(3)]
    (folder / "DLCSD24_Annotations.csv").write_text("\n".join([DLCS_HEADER, *rows]) + "\n", encoding="utf-8")


def voc2d(folder: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    lines = []
    for number in range(4):
        stem = f"{STEM}.{number}"
        for name in ("images", "annotations"):
            (folder / name).mkdir(exist_ok=True, parents=True)
        info = PngInfo()
        info.add_text("Comment", f"{NAME} {DATE}")
        gray = np.random.default_rng(number).integers(0, 255, (30, 34)).astype(np.uint8)
        Image.fromarray(gray).save(folder / "images" / f"{stem}.png", pnginfo=info)
        box = "<bndbox><xmin>9</xmin><ymin>8</ymin><xmax>21</xmax><ymax>22</ymax></bndbox>"
        text = f"<annotation><filename>{NAME}</filename><object><name>PN</name>{box}</object></annotation>"
        (folder / "annotations" / f"{stem}.xml").write_text(text)
        lines.append(f"{stem}.png,{UID}.{number},5.5")
    (folder / "slices.csv").write_text("\n".join(["image,seriesuid,diameter_mm", *lines]) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path], None]] = {
    "dicom": dicom,
    "lidc": lidc,
    "lung-pet-ct-dx": lung_pet_ct_dx,
    "volumes": volumes,
    "dlcs24": dlcs24,
    "voc2d": voc2d,
}
