"""Found nodules as DICOM: a Segmentation on the frames of the series they were found in, and a structured report.

Both carry the patient, study and UIDs of that series, for without them a viewer cannot lay them over it. They are dated
when they are made, and their own UIDs are new every time.

Source: DICOM PS3.3 A.51 (Segmentation) and PS3.16 TID 1500, 1411 (Measurement Report, Volumetric ROI), by highdicom.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungct import __version__
from lungct.extras import extra
from lungct.io import atomic
from lungct.types import FloatArray

NAME = "lungct"
OPTION = "--dicom"
SCORE = ("score", "99LUNGCT", "Detection score")
"""Value, scheme and meaning of the one concept that no public scheme has."""


@dataclass(frozen=True, eq=False)
class Marked:
    """One nodule of a report.

    Attributes:
        axes_lps_mm: (6, 3) world ends of the three axes of its ellipsoid.
        side: ``right``, ``left`` or nothing.
    """

    axes_lps_mm: FloatArray
    diameter_mm: float
    score: float
    side: str = ""


def read_sources(paths: Sequence[Path]) -> list[Any]:
    """The headers of DICOM files, without pixels.

    Raises:
        EnvironmentError_: highdicom is not installed.
    """
    check_installed()
    import pydicom

    with _silent():
        return [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]


def check_installed() -> None:
    """Raises EnvironmentError_: highdicom is not installed."""
    extra("highdicom", name="dicom", wanted_by=OPTION)


def write_segmentation(path: Path, sources: Sequence[Any], masks: NDArray[Any], scores: Sequence[float]) -> None:
    """Write a binary Segmentation, the n-th nodule being segment n.

    Args:
        sources: the headers of the slices that have a nodule.
        masks: (len(sources), Y, X) the number of the nodule that each pixel is of.
        scores: of every nodule, in the order of their numbers.
    """
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    described = [
        SegmentDescription(
            segment_number=number,
            segment_label=f"Nodule {number}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=_algorithm(),
        )
        for number in range(1, len(scores) + 1)
    ]
    with _silent():
        made = highdicom.seg.Segmentation(
            source_images=list(sources),
            pixel_array=masks,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=described,
            series_number=_series_number(sources, 1),
            series_description="Lung nodules found by lungct",
            content_description="Ellipsoids or boxes, no outlines",
            **_identity(),
        )
    _write(path, made)


def write_report(path: Path, sources: Sequence[Any], nodules: Sequence[Marked]) -> None:
    """Write a TID 1500 Measurement Report: of every nodule its ellipsoid in the world, its diameter and its score."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(), name=NAME, manufacturer_name=NAME, model_name=__version__
        ),
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[_group(number, one, sources) for number, one in enumerate(nodules, 1)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    with _silent():
        made = sr.Comprehensive3DSR(
            evidence=list(sources),
            content=report,
            series_number=_series_number(sources, 2),
            series_description="Lung nodules found by lungct",
            is_complete=True,
            is_verified=False,
            **{name: value for name, value in _identity().items() if name != "software_versions"},
        )
    _write(path, made)


def _group(number: int, nodule: Marked, sources: Sequence[Any]) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    surface = sr.VolumeSurface(
        graphic_type=sr.GraphicTypeValues3D.ELLIPSOID,
        graphic_data=np.asarray(nodule.axes_lps_mm, dtype=np.float64),
        frame_of_reference_uid=sources[0].FrameOfReferenceUID,
        source_images=[sr.SourceImageForSegmentation.from_source_image(one) for one in _nearest(sources, nodule)],
    )
    sides: Mapping[str, Any] = {"right": codes.SCT.Right, "left": codes.SCT.Left}
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier=f"Nodule {number}"),
        referenced_volume_surface=surface,
        finding_type=codes.SCT.Nodule,
        finding_sites=[sr.FindingSite(codes.SCT.Lung, laterality=sides.get(nodule.side))],
        algorithm_id=sr.AlgorithmIdentification(name=NAME, version=__version__),
        measurements=[
            sr.Measurement(name=codes.SCT.Diameter, value=round(nodule.diameter_mm, 2), unit=codes.UCUM.Millimeter),
            sr.Measurement(name=sr.CodedConcept(*SCORE), value=round(nodule.score, 6), unit=codes.UCUM.NoUnits),
        ],
    )


def _nearest(sources: Sequence[Any], nodule: Marked) -> list[Any]:
    """The slice through the middle of a nodule."""
    center = np.asarray(nodule.axes_lps_mm).mean(axis=0)
    row, column = np.reshape(np.asarray(sources[0].ImageOrientationPatient, dtype=float), (2, 3))
    places = np.array([np.asarray(one.ImagePositionPatient, dtype=float) for one in sources])
    return [sources[int(np.argmin(np.abs((places - center) @ np.cross(row, column))))]]


def _algorithm() -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.AlgorithmIdentificationSequence(
        name=NAME, family=codes.DCM.ArtificialIntelligence, version=__version__
    )


def _identity() -> dict[str, Any]:
    from pydicom.uid import generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": __version__,
        "device_serial_number": __version__,
    }


@contextmanager
def _silent() -> Iterator[None]:
    """What highdicom finds odd about a series it says with the patient's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _series_number(sources: Sequence[Any], more: int) -> int:
    return 1000 + int(sources[0].get("SeriesNumber") or 0) + more


def _write(path: Path, made: Any) -> None:
    with atomic.atomic_file(path, durable=False) as stream:
        made.save_as(stream, enforce_file_format=True)
