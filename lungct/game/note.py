"""What the numbers of a game show and what they do not, in plain words made from the numbers themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lungct import registry
from lungct.game.statistics import FEWEST_PATIENTS, LEVEL, detectable_effect


def note_of(summary: Mapping[str, Any], left_out: Sequence[str]) -> str:
    """The paragraph under every table of the game."""
    said = [*_place(summary), *_truth(summary), *_faithfulness(summary), *_differences(summary), *_detector(summary)]
    said += _without_a_map(summary)
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
    if methods[best] <= gaussian:
        verdict = "No method finds the nodule better than a map that explains nothing, so place alone speaks for none."
        return [text, line, verdict]
    return [text, line, _against_gaussian(summary, best)]


def _against_gaussian(summary: Mapping[str, Any], best: str) -> str:
    """Whether the best method's lead holds: in which of the rules that its mean is of, after Holm."""
    rules = {str(line["rule"]) for line in _of_place(summary["rows"])}
    tests = [
        test for test in summary["tests"] if {test["a"], test["b"]} == {best, "gaussian"} and test["rule"] in rules
    ]
    leads = [(test["difference"] > 0) == (test["a"] == best) for test in _certain(tests)]
    if not any(leads):
        return f"{best} finds the nodule no better than a map that only knows the box, as far as the tests can tell."
    text = f"{best} finds the nodule better than a map that only knows the box in {sum(leads)} of {len(rules)} rules"
    worse = len(leads) - sum(leads)
    return f"{text} (p < .05, Holm within each rule)" + (f", and worse in {worse}." if worse else ".")


def _certain(tests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [test for test in tests if test["p_holm"] < LEVEL]


def _truth(summary: Mapping[str, Any]) -> list[str]:
    reached = _mean_normalised(summary["rows"]).get(registry.UPPER_BOUND)
    return [] if reached is None else [f"The true mask itself, scored as a map, covers {reached:.0%}."]


def _mean_normalised(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Method -> mean normalised score over the rules of place that do not depend on size, or over all if none does."""
    free = _of_place(lines)
    methods = dict.fromkeys(str(line["method"]) for line in free)
    values = {name: [line["normalised"] for line in free if line["method"] == name] for name in methods}
    return {name: sum(found) / len(found) for name, found in values.items()}


def _of_place(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines of the rules of place that do not depend on size, or of all if none does."""
    place = [line for line in lines if line["rule"] in registry.RULES and line["normalised"] is not None]
    bound = (*registry.SIZE_BOUND_RULES, "energy-elsewhere", "iou-oracle")
    return [line for line in place if line["rule"] not in bound] or place


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
    certain = len(_certain(tests))
    return [f"Of {len(tests)} differences between two methods {certain} hold at p < .05 (Holm within each rule)."]


def _detector(summary: Mapping[str, Any]) -> list[str]:
    found = summary["detector"]
    if found["found"] is None and summary["rows"]:
        return ["The maps are of the true boxes, or of boxes without scores: they tell nothing of a detector's errors."]
    if not found["true_boxes"]:
        return []
    return [
        f"The detector's own errors are apart: on these images it found {found['found']} of {found['true_boxes']} true "
        f"boxes and drew {found['false_positives']} false ones."
    ]


def _without_a_map(summary: Mapping[str, Any]) -> list[str]:
    left = summary["without_a_map"]
    if not left["images"] and not left["true_boxes"]:
        return []
    return [
        f"{left['images']} of the truth's {left['of_images']} images and {left['true_boxes']} of its "
        f"{left['of_true_boxes']} true boxes have no map, and no part in the scores."
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
