"""The pictures of a case: its slice and the finding enlarged, bare and under the heatmap of each method."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lungct.io import npz
from lungct.io.coco import CocoTruth
from lungct.report import overlay, panel
from lungct.report.cases import Case, iou_matrix
from lungct.types import FloatArray, Heatmaps

SIDE_PX = 320
GAP_PX = 6
SAME_BOX_IOU = 0.98
_QUALITY = 86


@dataclass
class Gallery:
    """Reads slices and heatmaps, each file once, and draws cases.

    Attributes:
        truth: the split that the cases are of.
        methods: method -> folder of its heatmaps.
        window_hu: HU drawn black and HU drawn white.
    """

    truth: CocoTruth
    methods: Mapping[str, Path]
    window_hu: tuple[float, float]
    _maps: dict[Path, Heatmaps | None] = field(default_factory=dict)

    def explained(self, case: Case) -> bool:
        """Whether any method has a map of the case's detection."""
        return any(self.heat(case, method) is not None for method in self.methods)

    def heat(self, case: Case, method: str) -> tuple[FloatArray, str] | None:
        """The (Y, X) map of the case's detection by a method and its flag, None where there is none."""
        maps = self._read(self.methods[method], str(case.image.id))
        if maps is None or case.box_xyxy_px is None or not len(maps.boxes_xyxy_px):
            return None
        same = iou_matrix(np.asarray([case.box_xyxy_px]), np.asarray(maps.boxes_xyxy_px, dtype=np.float64))[0]
        place = int(same.argmax())
        flag = maps.flags[place] if place < len(maps.flags) else ""
        return (maps.heatmaps[place].astype(np.float32), flag) if same[place] >= SAME_BOX_IOU else None

    def _read(self, folder: Path, image_id: str) -> Heatmaps | None:
        # Ids may be strings with slashes in them; on disk they are percent-encoded.
        path = folder / f"{quote(image_id, safe='')}.npz"
        if path not in self._maps:
            self._maps[path] = npz.read_heatmaps(path) if path.is_file() else None
        return self._maps[path]

    def slice_hu(self, case: Case) -> NDArray[np.int16]:
        """The (Y, X) slice of a case: the middle one of its stack."""
        stack = npz.read_slice(self.truth.root / case.image.file_name)
        middle: NDArray[np.int16] = stack[len(stack) // 2]
        return middle

    def draw(self, case: Case, heat: FloatArray | None) -> bytes:
        """The whole slice beside the enlarged finding, as a JPEG."""
        image_hu, spacing = self.slice_hu(case), case.image.spacing_mm_xy
        shape = (int(image_hu.shape[0]), int(image_hu.shape[1]))
        main = panel.whole_slice(shape, spacing, side_px=SIDE_PX)
        zoom = panel.around(case.focus_xyxy_px, shape, spacing, side_px=SIDE_PX)
        sheet = Image.new("RGB", (2 * SIDE_PX + GAP_PX, SIDE_PX))
        for view, left in ((main, (SIDE_PX - main.size_px[0]) // 2), (zoom, SIDE_PX + GAP_PX)):
            picture = panel.paint(image_hu, heat, view, window_hu=self.window_hu)
            overlay.annotate(picture, view, case.box_xyxy_px, case.true_boxes_xyxy_px, spacing_mm_xy=spacing)
            if view is main:
                ImageDraw.Draw(picture).rectangle(main.place(zoom.window_xyxy_px), outline=panel.FRAME)
            sheet.paste(picture, (left, (SIDE_PX - view.size_px[1]) // 2))
        return jpeg(sheet)


def jpeg(picture: Image.Image) -> bytes:
    """A picture as JPEG bytes at full colour resolution, so that thin coloured lines stay sharp."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return stream.getvalue()


def heat_ramp() -> bytes:
    """The heat's colours from 0 to 1 on mid grey, as a PNG: the key of the pictures."""
    values: NDArray[Any] = np.broadcast_to(np.linspace(0, 1, 256), (16, 256))
    ramp = panel.blend(np.full((16, 256, 3), 105.0), values)
    stream = io.BytesIO()
    Image.fromarray(np.round(ramp).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()
