"""Writes a trained detector for other programs, ONNX or torch.export, after checking that it answers as the model."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lungct.errors import EnvironmentError_, InputError, UsageError
from lungct.extras import extra
from lungct.inference.detect import detect_arrays
from lungct.io import atomic
from lungct.io.coco import read_truth
from lungct.io.npz import read_slice
from lungct.models.detector import LoadedModel
from lungct.models.load import load_model
from lungct.models.traceable import TraceableDetector

FORMATS = {".onnx": "ONNX", ".pt2": "torch.export"}
INPUT = "image_hu"
OUTPUTS = ("boxes_xyxy", "scores", "categories")
CARD_KEY, PARITY_KEY = "lungct", "lungct_parity"
BOX_TOLERANCE_PX, SCORE_TOLERANCE = 0.05, 1e-3
OTHER_CATEGORY = 1e9
"""What it costs to set a detection against one of another category, in tolerances."""
logger = logging.getLogger("lungct")


@dataclass(frozen=True)
class Parity:
    """How far the exported model's answers for the sample are from the model's own.

    Attributes:
        detections: of the model, and of the exported one.
        boxes_px, scores: largest absolute differences; None where the numbers of detections differ.
    """

    sample: str
    detections: tuple[int, int]
    boxes_px: float | None
    scores: float | None

    @property
    def holds(self) -> bool:
        """Whether they answer alike."""
        if self.boxes_px is None or self.scores is None:
            return False
        return self.boxes_px <= BOX_TOLERANCE_PX and self.scores <= SCORE_TOLERANCE


def export(
    run: Path,
    out: Path,
    *,
    size_xy: tuple[int, int] = (512, 512),
    score_threshold: float | None = None,
    sample: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the detector of ``run`` as ``out``; returns facts, the parity among them.

    The graph takes one (C, Y, X) float32 stack of HU of ``size_xy`` pixels and gives boxes (N, 4) in pixel edges,
    scores (N,) and COCO categories (N,), best first: window, magnification and suppression are inside. The model card
    and the parity are stored in the file.

    Args:
        score_threshold: lowest score that is answered; the card's where None.
        sample: COCO file or NPZ slice whose image is compared; else noise with bright disks.

    Raises:
        UsageError: another ending than .onnx or .pt2.
        InputError: a run or a sample that cannot be used.
        EnvironmentError_: a package is missing, or what was exported does not answer as the model does.
        OutputExists: ``out`` must not be written.
    """
    kind = _checked_kind(out, overwrite=overwrite)
    model = load_model(run, "cpu")
    name, image_hu = _sample(sample, model, size_xy)
    threshold = model.card.score_threshold if score_threshold is None else score_threshold
    graph = TraceableDetector(model, (image_hu.shape[1], image_hu.shape[2]), threshold).eval()
    example = torch.from_numpy(image_hu.astype(np.float32))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.export.export(graph, (example,), strict=False)
        data, answer = _as_onnx(program, example) if kind == "ONNX" else _as_torch(program, example)
    parity = compare(model, image_hu, answer, threshold, name)
    _judge(parity, kind)
    atomic.write_bytes(out, _labelled(data, kind, model.card.to_json(), json.dumps(asdict(parity))), overwrite=True)
    return {"format": kind, "input": f"{INPUT} {' x '.join(map(str, image_hu.shape))} float32", **asdict(parity)}


def plan_export(run: Path, out: Path, *, overwrite: bool) -> dict[str, Any]:
    """What :func:`export` would write; builds no graph.

    Raises:
        UsageError, InputError, EnvironmentError_, OutputExists: as there.
    """
    kind = _checked_kind(out, overwrite=overwrite)
    card = load_model(run, "cpu").card
    return {"output": str(out), "format": kind, "detector": f"{card.detector} on {card.backbone}"}


def _checked_kind(out: Path, *, overwrite: bool) -> str:
    kind = FORMATS.get(out.suffix.lower())
    if kind is None:
        raise UsageError(f"{out} ends neither in .onnx nor in .pt2", "name the file by its format")
    if kind == "ONNX":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            extra(package, name="export", wanted_by="export to ONNX")
    atomic.check_file_replaceable(out, overwrite=overwrite, starts=b"\x08" if kind == "ONNX" else b"PK")
    return kind


def _as_torch(program: Any, example: Tensor) -> tuple[Any, Sequence[NDArray[Any]]]:
    return program, [one.detach().numpy() for one in program.module()(example)]


def _as_onnx(program: Any, example: Tensor) -> tuple[Any, Sequence[NDArray[Any]]]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        made = torch.onnx.export(
            program, (example,), dynamo=True, verbose=False, input_names=[INPUT], output_names=list(OUTPUTS)
        )
        if made is None:
            raise EnvironmentError_("torch made no ONNX graph", "update torch and onnxscript")
        made.save(str(path), external_data=False)
        data = path.read_bytes()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, session.run(list(OUTPUTS), {INPUT: example.numpy()})


def _labelled(data: Any, kind: str, card_json: str, parity_json: str) -> bytes:
    """The file's bytes, with card and parity in its metadata."""
    if kind == "ONNX":
        import onnx

        graph = onnx.load_from_string(data)
        onnx.helper.set_model_props(graph, {CARD_KEY: card_json, PARITY_KEY: parity_json})
        labelled: bytes = graph.SerializeToString()
        return labelled
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        torch.export.save(data, path, extra_files={CARD_KEY: card_json, PARITY_KEY: parity_json})
        return path.read_bytes()


def compare(
    model: LoadedModel, image_hu: NDArray[np.int16], answer: Sequence[NDArray[Any]], threshold: float, name: str
) -> Parity:
    """The parity of an answer (boxes, scores, categories) for one (C, Y, X) slice with the model's own, in float32.

    Each detection is set against the one that is most like it, for of equal scores either may come first.
    """
    own = detect_arrays(model, [image_hu], score_threshold=threshold, amp="off")[0]
    boxes, scores, categories = answer
    counts = len(own), len(scores)
    if counts[0] != counts[1]:
        return Parity(name, counts, None, None)
    boxes_px = np.abs(own.boxes_xyxy_px[:, None] - boxes[None]).max(2, initial=0)
    apart = np.abs(own.scores[:, None] - scores[None])
    other = np.where(own.labels[:, None] == categories[None], 0, OTHER_CATEGORY)
    cost = boxes_px / BOX_TOLERANCE_PX + apart / SCORE_TOLERANCE + other
    pairs = linear_sum_assignment(np.nan_to_num(cost, nan=OTHER_CATEGORY, posinf=OTHER_CATEGORY))
    if other[pairs].any():
        return Parity(name, counts, None, None)
    return Parity(name, counts, float(boxes_px[pairs].max(initial=0)), float(apart[pairs].max(initial=0)))


def _judge(parity: Parity, kind: str) -> None:
    if not parity.holds:
        found = f"{parity.detections[1]} detections for {parity.detections[0]}, boxes {parity.boxes_px} px apart"
        raise EnvironmentError_(
            f"the {kind} graph does not answer as the model does ({found}, scores {parity.scores})",
            "of many equal scores either may be kept: try a higher --score-threshold or a --sample with nodules; "
            "else update torch, onnxscript and onnxruntime",
        )
    if not parity.detections[0]:
        logger.warning("the model detects nothing on the sample, so the comparison says little: give a --sample")


def _sample(path: Path | None, model: LoadedModel, size_xy: tuple[int, int]) -> tuple[str, NDArray[np.int16]]:
    channels = model.card.in_channels
    if path is None:
        return "noise with disks", disks_hu(channels, size_xy)
    if path.suffix.lower() == ".json":
        truth = read_truth(path)
        boxed = {one.image_id for one in truth.annotations}
        if not truth.images:
            raise InputError.of(path, "holds no images")
        image = next((one for one in truth.images if one.id in boxed), truth.images[0])
        path = truth.root / image.file_name
    image_hu = read_slice(path)
    if len(image_hu) != channels:
        raise InputError.of(path, f"has {len(image_hu)} channels, the model takes {channels}")
    return path.name, image_hu


def disks_hu(channels: int, size_xy: tuple[int, int]) -> NDArray[np.int16]:
    """(C, Y, X) HU: noise of lung with bright disks of several sizes, always the same."""
    random = np.random.default_rng(0)
    width, height = size_xy
    image_hu = random.normal(-850, 60, (channels, height, width))
    rows, columns = np.mgrid[:height, :width]
    for radius in (2, 3, 4, 6, 8, 12):
        x, y = random.uniform(0.1, 0.9, 2) * (width, height)
        image_hu[:, (columns - x) ** 2 + (rows - y) ** 2 < radius**2] = 30
    clipped: NDArray[np.int16] = image_hu.clip(-1000, 500).astype(np.int16)
    return clipped
