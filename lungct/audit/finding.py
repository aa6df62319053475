"""What an audit can find: every kind with its weight and what to do about it, and one finding of a kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SEVERITIES = ("note", "warning", "error")
"""From light to heavy: worth knowing; look at it; results from these data would be wrong."""


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: one of :data:`SEVERITIES`.
        summary: what was found, for the table.
        advice: what to do, for ``findings.csv``.
    """

    severity: str
    summary: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "unreadable": Kind("error", "cannot be read", "mend or remove it; preprocess would stop at it"),
    "leak-patient": Kind("error", "one patient in two splits", "give all scans of a patient one split"),
    "leak-series": Kind("error", "one scan in two splits", "give all slices of a scan one split"),
    "leak-duplicate": Kind("error", "copies in two splits", "leave one out, or give both the same patient"),
    "not-hu": Kind("error", "voxels are not HU", "apply the rescale slope and intercept, or name the HU window"),
    "constant-image": Kind("error", "one value everywhere", "leave it out"),
    "no-lung": Kind("error", "no lung in the scan", "leave it out, or look at its orientation and HU"),
    "duplicate-conflict": Kind("error", "copies with different labels", "leave all of them out, or mend the labels"),
    "nodule-conflict": Kind("error", "one nodule with different labels", "give it one label and one malignancy"),
    "box-conflict": Kind("error", "one place with different labels", "keep one of the boxes"),
    "exact-duplicate": Kind("warning", "the same voxels", "keep one"),
    "near-duplicate": Kind("warning", "all but the same image", "look at both, and keep one if they are one scan"),
    "shared-slices": Kind("warning", "scans share slices", "look at both: is one cut out of the other?"),
    "duplicate-boxes": Kind("warning", "copies with different boxes", "give the one that is kept the boxes of all"),
    "repeated-box": Kind("warning", "one box twice", "keep one"),
    "overlap": Kind("warning", "one scan in two data sets", "leave it out of one before they are put together"),
    "little-lung": Kind("warning", "little lung in the scan", "look whether a lung is cut off or missing"),
    "cut-lung": Kind("warning", "the scan ends within the lungs", "count on nodules that it does not show"),
    "truncated-field": Kind("warning", "the field of view cuts the body", "look whether a lung is cut as well"),
    "slice-gap": Kind("warning", "a jump between neighbouring slices", "look for missing slices; export it anew"),
    "repeated-slice": Kind("warning", "one slice twice in a scan", "remove the copies; export it anew"),
    "constant-slice": Kind("warning", "slices of one value", "cut them off"),
    "thick-slices": Kind("warning", "slices far apart", "leave it out where small nodules matter"),
    "not-axial": Kind("warning", "slices are not axial", "take the axial series of the study"),
    "oblique": Kind("warning", "axes far from the body's", "check the header, or resample to straight axes"),
    "anisotropy": Kind("warning", "voxels of an unusual shape", "check the spacing in the header"),
    "noise": Kind("note", "among the noisiest", "leave it out if the noise hides nodules"),
    "contrast": Kind("note", "contrast agent", "know that both kinds are among the scans"),
    "gray-8bit": Kind("note", "HU in 256 steps", "know that differences of a few HU are lost"),
    "same-name": Kind("note", "one name, different scans", "rename one before data sets are put together"),
}
"""Heaviest first, which is also the order of findings in the outputs."""

_ORDER = {name: place for place, name in enumerate(KINDS)}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        kind: a key of :data:`KINDS`.
        case: name of the scan or image, or of the patient for a leak by patient.
        measure: what ``value`` is, with its unit.
        value: what was measured.
        limit: what it was held against; empty where it is no number.
        other: the second scan, image or nodule of the finding.
        z_index: slice (of the scan in canonical order) that shows it, where there is one.
    """

    kind: str
    case: str
    measure: str
    value: float | int | str
    limit: float | int | str = ""
    other: str = ""
    z_index: int | None = None

    @property
    def severity(self) -> str:
        """The weight of its kind."""
        return KINDS[self.kind].severity


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Heaviest kind first, then by name."""
    return sorted(findings, key=lambda one: (_ORDER[one.kind], one.case, one.other, one.measure, str(one.value)))
