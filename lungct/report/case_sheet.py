"""Many cases on one sheet: of each its surroundings enlarged, with the detection, the true boxes and what is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lungct.io import atomic
from lungct.report import overlay, panel
from lungct.report.case_pictures import Gallery
from lungct.report.cases import Case, facts

SIDE_PX = 220
GAP_PX = 8
PER_ROW = 6
_WORDS_PX, _LINE_PX = 60, 18
_HEADER_PX = 44
_GROUND = (17, 17, 17)


def write_case_sheet(path: Path, cases: Sequence[Case], gallery: Gallery, *, title: str) -> None:
    """Write the cases in their order, six to a row, as a PNG; the same bytes for the same input.

    Args:
        gallery: reads the slices.
        title: a line above.

    Raises:
        InputError: a slice that is missing or not readable.
    """
    columns, rows = min(PER_ROW, max(len(cases), 3)), max(1, -(-len(cases) // PER_ROW))
    height = _HEADER_PX + rows * (SIDE_PX + _WORDS_PX + GAP_PX)
    sheet = Image.new("RGB", (columns * (SIDE_PX + GAP_PX) + GAP_PX, height), _GROUND)
    brush = ImageDraw.Draw(sheet)
    panel.text(brush, (GAP_PX, _HEADER_PX / 2), title, size=18, bold=True, anchor="lm", stroke_width=0)
    if not cases:
        panel.text(brush, (GAP_PX, _HEADER_PX + 20), "There is none.", anchor="lm", stroke_width=0)
    for number, case in enumerate(cases):
        row, column = divmod(number, PER_ROW)
        left, top = GAP_PX + column * (SIDE_PX + GAP_PX), _HEADER_PX + row * (SIDE_PX + _WORDS_PX + GAP_PX)
        sheet.paste(_picture(case, gallery), (left, top))
        for line, words in enumerate(_lines(case)):
            at = (left, top + SIDE_PX + 4 + line * _LINE_PX)
            panel.text(brush, at, words, size=14, anchor="la", stroke_width=0)
    atomic.write_bytes(path, overlay.png(sheet), durable=False)


def _picture(case: Case, gallery: Gallery) -> Image.Image:
    image_hu, spacing = gallery.slice_hu(case), case.image.spacing_mm_xy
    shape = (int(image_hu.shape[0]), int(image_hu.shape[1]))
    view = panel.around(case.focus_xyxy_px, shape, spacing, side_px=SIDE_PX, least_px=64.0)
    picture = panel.paint(image_hu, None, view, window_hu=gallery.window_hu)
    overlay.annotate(picture, view, case.box_xyxy_px, case.true_boxes_xyxy_px, spacing_mm_xy=spacing)
    return picture


def _lines(case: Case) -> list[str]:
    """What is known in at most three lines, as many facts on one as fit; a longer fact is cut in its middle."""
    *known, where = facts(case, {"diameter_mm": " mm", "malignancy": ""})
    lines: list[str] = []
    for fact in known:
        joined = f"{lines[-1]}, {fact}" if lines else fact
        if lines and _width(joined) <= SIDE_PX:
            lines[-1] = joined
        else:
            lines.append(fact)
    return [_fitting(line) for line in (*lines[:2], where)]


def _width(words: str) -> float:
    return float(panel.font(14).getlength(words))


def _fitting(words: str) -> str:
    shown, kept = words, len(words)
    while _width(shown) > SIDE_PX and kept > 8:
        kept -= 2
        shown = f"{words[: kept // 2]}...{words[-(kept // 2) :]}"
    return shown
