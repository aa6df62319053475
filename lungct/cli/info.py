"""Tell versions, devices, formats and choices.

Example: lungct info --json
"""

from __future__ import annotations

from typing import Any

from lungct import registry
from lungct.cli.result import Result

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "SimpleITK",
    "nibabel",
    "isal",
    "safetensors",
    "matplotlib",
)
FORMATS = {
    "volumes": "NIfTI (.nii, .nii.gz), MetaImage (.mhd, .mha), NRRD (.nrrd), DICOM series",
    "nodules": "DLCS24 CSV, LUNA16 CSV",
    "slices": "COCO JSON + NPZ",
    "2D images": "PNG, JPEG, NPY, DICOM or NRRD + COCO JSON, PASCAL-VOC XML or a CSV",
    "detections": "COCO results JSON, LUNA16 submission CSV",
    "models": "safetensors",
    "heatmaps": "NPZ + PNG",
}


def run() -> Result:
    """Collect the facts; torch is imported here, for it alone knows the devices."""
    facts: dict[str, Any] = {
        "versions": _versions(),
        "devices": _devices(),
        "formats": FORMATS,
        "choices": {
            name: {key: entry if isinstance(entry, str) else entry.summary for key, entry in table.items()}
            for name, table in _choices().items()
        },
        "models": _models(),
    }
    return Result(data=facts, text=_as_text(facts))


def _choices() -> dict[str, dict[str, registry.Entry | str]]:
    windows = {name: f"{low}..{high} HU" for name, (low, high) in registry.HU_WINDOWS.items()}
    enhancements = {
        name: ", ".join(f"{step} {number:g}" for step, number in steps.items())
        for name, steps in registry.ENHANCEMENTS.items()
    }
    return {
        "sources": dict(registry.SOURCES),
        "lung masks": dict(registry.LUNG_MASKS),
        "enhancements": dict(enhancements),
        "selections": dict(registry.SELECTIONS),
        "detectors": dict(registry.DETECTORS),
        "backbones": dict(registry.BACKBONES),
        "class losses": dict(registry.CLASS_LOSSES),
        "box losses": dict(registry.BOX_LOSSES),
        "presets": dict(registry.PRESETS),
        "augmentations": dict(registry.AUGMENTATIONS),
        "samplings": dict(registry.SAMPLINGS),
        "HU windows": dict(windows),
        "views": dict(registry.TTA),
        "methods": dict(registry.METHODS),
        "rules": dict(registry.RULES),
        "measures of a map alone": dict(registry.MAP_MEASURES),
        "measures that ask the model": dict(registry.FAITHFULNESS),
    }


def _models() -> dict[str, dict[str, Any]]:
    from dataclasses import asdict

    from lungct.training.summary import all_model_facts

    return {f"{one.detector} on {one.backbone}": {**asdict(one), "summary": str(one)} for one in all_model_facts()}


def _versions() -> dict[str, str]:
    import platform
    from importlib import metadata

    from lungct import __version__

    found = {"lungct": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _devices() -> dict[str, str]:
    import os

    import torch

    found = {"cpu": f"{os.cpu_count()} cores"}
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        found[f"cuda:{number}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def _as_text(facts: dict[str, Any]) -> str:
    models = {name: one["summary"] for name, one in facts["models"].items()}
    plain = {title: table for title, table in facts.items() if title not in ("choices", "models")}
    lines: list[str] = []
    for title, table in {**plain, **facts["choices"], "models, by default options": models}.items():
        lines.append(f"{title}:")
        width = max(len(str(key)) for key in table)
        lines += [f"  {key:<{width}}  {value}" for key, value in table.items()]
    return "\n".join(lines)
