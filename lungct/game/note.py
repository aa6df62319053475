"""What the numbers of a game show and what they do not, in plain words made from the numbers themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lungct import registry
from lungct.game.statistics import FEWEST_PATIENTS, detectable_effect


def note_of(summary: Mapping[str, Any], left_out: Sequence[str]) -> str:
    """The paragraph under every table of the game."""
    said = [*_place(summary), *_truth(summary), *_faithfulness(summary), *_differences(summary), *_detector(summary)]
    if left_out:
        said.append(f"No {', '.join(left_out)} control for images that are not lungct slices.")
    return " ".join([*said, *_power(summary)])


def _place(summary: Mapping[str, Any]) -> list[str]:
    reached = _mean_normalised(summary["rows"])
    gaussian = reached.get("gaussian")
    beside = (*registry.CONTROLS, registry.UPPER_BOUND)
    methods = {name: value for name, value in reached.items() if name not in beside}
    text = "A score of place says where a map is bright, not why the detector decided."
    if gaussian is None:
        return [text]
    line = f"The Gaussian control sits on the predicted box and never sees the network; it covers {gaussian:.0%} of "
    line += "the way from chance to ceiling"
    if not methods:
        return [text, line + "."]
    best = max(methods, key=lambda name: methods[name])
    line += f", {best}, the best method, {methods[best]:.0%} (mean over the rules that do not depend on size)."
    verdict = (
        f"{best} thus finds the nodule better than a map that only knows the box."
        if methods[best] > gaussian
        else "No method finds the nodule better than a map that explains nothing, so place alone speaks for none."
    )
    return [text, line, verdict]


def _truth(summary: Mapping[str, Any]) -> list[str]:
    reached = _mean_normalised(summary["rows"]).get(registry.UPPER_BOUND)
    return [] if reached is None else [f"The true mask itself, scored as a map, covers {reached:.0%}."]


def _mean_normalised(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Method -> mean normalised score over the rules of place that do not depend on size, or over all if none does."""
    place = [line for line in lines if line["rule"] in registry.RULES and line["normalised"] is not None]
    bound = (*registry.SIZE_BOUND_RULES, "energy-elsewhere", "iou-oracle")
    free = [line for line in place if line["rule"] not in bound] or place
    methods = dict.fromkeys(str(line["method"]) for line in free)
    values = {name: [line["normalised"] for line in free if line["method"] == name] for name in methods}
    return {name: sum(found) / len(found) for name, found in values.items()}


def _faithfulness(summary: Mapping[str, Any]) -> list[str]:
    lines = [line for line in summary["rows"] if line["rule"] == "insertion-deletion" and line["mean"] is not None]
    if not lines:
        return ["Faithfulness was not measured: judge a method by it too (--faithfulness)."]
    of_method = {str(line["method"]): float(line["mean"]) for line in lines}
    methods = {name: value for name, value in of_method.items() if name not in (*registry.CONTROLS, "truth")}
    if not methods:
        return []
    best = max(methods, key=lambda name: methods[name])
    line = f"Faithfulness (insertion minus deletion of the detection's own score): {best} {methods[best]:.2f}"
    if "gaussian" in of_method:
        line += f", the Gaussian {of_method['gaussian']:.2f}"
        if of_method["gaussian"] >= methods[best]:
            line += ": no map marks what moves the score better than the box does"
    return [line + "."]


def _differences(summary: Mapping[str, Any]) -> list[str]:
    tests = summary["tests"]
    if not tests:
        return []
    certain = sum(test["p_holm"] < 0.05 for test in tests)
    return [f"Of {len(tests)} differences between two methods {certain} hold at p < .05 (Holm within each rule)."]


def _detector(summary: Mapping[str, Any]) -> list[str]:
    found = summary["detector"]
    if not found["true_boxes"]:
        return []
    return [
        f"The detector's own errors are apart: on these images it found {found['found']} of {found['true_boxes']} true "
        f"boxes and drew {found['false_positives']} false ones."
    ]


def _power(summary: Mapping[str, Any]) -> list[str]:
    patients = int(summary["patients"])
    if patients < FEWEST_PATIENTS:
        return [f"{patients} patient{'s' * (patients != 1)}: with under {FEWEST_PATIENTS} no test can reach p < .05."]
    said = []
    if patients < summary["needed_patients"]:
        said.append(
            f"{patients} patients: with under {summary['needed_patients']} no difference can reach p < .05 after Holm."
        )
    effect = detectable_effect(patients)
    if effect > 0.5:
        said.append(f"{patients} patients find a difference of {effect:.1f} standard deviations with 80 % power.")
    return said
