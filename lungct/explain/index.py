"""``index.ndjson``: a line per map, read back from the NPZ files, and what the lines add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lungct.explain.provenance import fingerprint
from lungct.io import atomic
from lungct.io.coco import CocoImage
from lungct.io.npz import HEATMAP_SCHEMA
from lungct.report.flagged_maps import INDEX, flags_in_words
from lungct.types import Heatmaps

ROW_SCHEMA = "lungct.explanation/1"


def stem_of(image_id: int | str) -> str:
    """The file name of an image id: itself, with what a file name cannot hold percent-encoded."""
    return quote(str(image_id), safe="")


def overlay_name(image_id: int | str, number: int) -> str:
    """The PNG of a detection's map."""
    return f"{stem_of(image_id)}_{number}.png"


def record_of(image: CocoImage, maps: Heatmaps | None, *, pictures: bool = True) -> dict[str, Any]:
    """The manifest record of one image; without detections there is no file, and the record says 0."""
    count = len(maps.scores) if maps else 0
    return {
        "schema": HEATMAP_SCHEMA,
        "image_id": image.id,
        "case_id": image.case_id,
        "patient_id": image.patient_id,
        "path": f"{stem_of(image.id)}.npz" if maps else None,
        "overlays": [overlay_name(image.id, number) for number in range(count)] if pictures else [],
        "detections": count,
        "true_positives": kinds_of(maps).count("TP") if maps else 0,
        "flags": list(maps.flags) if maps else [],
    }


def kinds_of(maps: Heatmaps) -> list[str]:
    """``TP``, ``FP`` or ``FN`` of every map."""
    plain = ["TP" if one >= 0 else "FP" for one in maps.matched_annotation_id.tolist()]
    return list(maps.provenance.get("kinds") or plain)


def rows_of(image: CocoImage, maps: Heatmaps | None, *, pictures: bool = True) -> list[dict[str, Any]]:
    """The lines of one image's maps."""
    if maps is None:
        return []
    hashed = fingerprint(maps.provenance)
    layers, kinds = maps.provenance.get("layers") or maps.layers.split(","), kinds_of(maps)
    rows = []
    for number, flag in enumerate(maps.flags):
        row = {
            "schema": ROW_SCHEMA,
            "method": maps.method,
            "image_id": image.id,
            "case_id": image.case_id,
            "patient_id": image.patient_id,
            "z_index": image.lungct.get("z_index"),
            "detection": number,
            "box_xyxy_px": [round(float(edge), 4) for edge in maps.boxes_xyxy_px[number]],
            "score": round(float(maps.scores[number]), 6),
            "label": int(maps.labels[number]),
            "kind": kinds[number],
            "matched_annotation_id": int(maps.matched_annotation_id[number]),
            "file": f"{stem_of(image.id)}.npz",
            "overlay": overlay_name(image.id, number) if pictures else None,
            "layer": layers[number],
            "flag": flag,
            "lost_fraction": _of(maps.provenance, "lost_fraction", number),
            "zero_gradient": bool(_of(maps.provenance, "zero_gradient", number)),
            "provenance_sha256": hashed,
        }
        if maps.channel_shapley is not None:
            row["channel_shapley"] = np.round(maps.channel_shapley[number].astype(float), 6).tolist()
        rows.append(row)
    return rows


def _of(provenance: Mapping[str, Any], name: str, number: int) -> Any:
    """One detection's value of a list that some methods note; None where this one does not."""
    values = provenance.get(name)
    return values[number] if isinstance(values, list) and number < len(values) else None


def write_index(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the lines, for a staged folder."""
    text = "".join(json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    atomic.write_bytes(folder / INDEX, text.encode(), durable=False)


def complaint(method: str, found: Mapping[str, Any]) -> str:
    """One line on the maps that mean little; empty where there is none."""
    count = sum(found["flags"].values())
    said = [f"{count} of {found['maps']} maps mean nothing ({flags_in_words(found)})"] if count else []
    if found["mostly_vanished"]:
        said.append(f"for {found['mostly_vanished']} of {found['maps']} maps most changed images lost the detection")
    return f"{method}: {'; '.join(said)}; see the flag and lost_fraction in its {INDEX}" if said else ""
