"""How 3D Slicer and ITK-SNAP open a scan with its heat and boxes: a script for one, label names for the other."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

SLICER = "slicer.py"
OPACITY = 0.4

_SCRIPT = '''"""Opens a scan with the heat and the boxes of {method} in 3D Slicer.

    Slicer --python-script {name} CASE_ID [SCAN]

CASE_ID is the first part of a file name beside this script; SCAN is the CT that the heat is shown over.
"""

import pathlib
import sys

import slicer

here = pathlib.Path(__file__).resolve().parent
case = sys.argv[1]
heat = slicer.util.loadVolume(str(here / (case + "_{method}.nii.gz")), {{"show": False}})
boxes = slicer.util.loadSegmentation(str(here / (case + "_boxes.nii.gz")))
boxes.GetDisplayNode().SetOpacity2DFill(0.0)
display = heat.GetDisplayNode()
colours = slicer.mrmlScene.GetFirstNodeByName("Inferno")
if colours:
    display.SetAndObserveColorNodeID(colours.GetID())
display.AutoWindowLevelOff()
display.SetWindowLevelMinMax(0.0, 1.0)
display.SetLowerThreshold(0.05)
display.ApplyThresholdOn()
scan = slicer.util.loadVolume(sys.argv[2], {{"show": False}}) if len(sys.argv) > 2 else None
slicer.util.setSliceViewerLayers(background=scan or heat, foreground=heat, foregroundOpacity={opacity}, fit=True)
'''

_LABEL_LINE = '{label:5d} {r:5d} {g:4d} {b:4d}        1  1  1    "{name}"'


def slicer_script(method: str) -> str:
    """A Python script for 3D Slicer that loads a case's files beside it over a scan that is named to it."""
    return _SCRIPT.format(method=method, name=SLICER, opacity=OPACITY)


def snap_labels(names: Sequence[str]) -> str:
    """ITK-SNAP's label descriptions: number, colour, opacity, visibility, name; 0 is what has no label."""
    lines = [_LABEL_LINE.format(label=0, r=0, g=0, b=0, name="Clear Label").replace("1  1  1", "0  0  0")]
    for label, name in enumerate(names, 1):
        r, g, b = (round(255 * one) for one in colorsys.hsv_to_rgb(0.5 + 0.381966 * (label - 1), 0.9, 1.0))
        lines.append(_LABEL_LINE.format(label=label, r=r, g=g, b=b, name=f"nodule {label}: score {name}"))
    return "\n".join(lines) + "\n"
