"""Options that make no sense together, or that would do nothing, are refused in a line before anything is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lungct import registry
from lungct.cli.app import command
from lungct.cli.contract import run_app
from lungct.errors import UsageError
from lungct.explain.base import MethodOptions
from lungct.explain.options import ExplainOptions, check

IDLE: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (("odam",), {"masks": 9}, "--masks 9 changes nothing of odam: leave it out, or add --method drise"),
    (("scorecam", "drise"), {"samples": 3}, "--samples 3 .* sscam1 or sscam2 or iscam"),
    (("iscam",), {"preset": "thesis"}, "--preset thesis"),
    (("gradcam", "drise"), {"weights": "softmax"}, "--weights softmax"),
    (("eigencam", "odam"), {"baseline": "lung"}, "--baseline lung"),
    (("drise",), {"patch_mm": 5.0}, "--patch-mm 5.0"),
    (("scorecam",), {"stride_mm": 2.0}, "--stride-mm 2.0"),
    (("odam",), {"centred": True}, "--centred changes"),
    (("odam",), {"approximate": "clusters"}, "--approximate clusters"),
    (("scorecam",), {"approximate": "window"}, "--approximate window .* reciprocam"),
    (("drise", "gaussian"), {"level": "P3"}, "--level P3"),
    (("eigencam", "edges"), {"scorer": "match"}, "--scorer match"),
    (("eigencam",), {"target": "box-w"}, "--target box-w"),
    (("odam",), {"amp": "bf16"}, "--amp bf16"),
]
OF_METHOD = {one.name for one in dataclasses.fields(MethodOptions)}


def options_of(methods: tuple[str, ...], changes: dict[str, Any], **more: Any) -> ExplainOptions:
    inner = {name: value for name, value in changes.items() if name in OF_METHOD}
    outer = {name: value for name, value in changes.items() if name not in OF_METHOD}
    return ExplainOptions(methods=methods, method=MethodOptions(**inner), **outer, **more)


@pytest.mark.parametrize(("methods", "changes", "line"), IDLE)
def test_an_option_that_no_chosen_method_reads(methods: tuple[str, ...], changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line) as problem:
        check(options_of(methods, changes))
    assert "\n" not in str(problem.value)
    (name,) = changes
    reads = changes[name] if name == "approximate" else name
    readers = [one for one, entry in registry.METHODS.items() if reads in entry.reads]
    for reader in readers:
        unfit = (name == "scorer" and registry.METHODS[reader].inside) or (name == "target" and reader == "drise")
        if not unfit:  # for another reason, which is told
            check(options_of((*methods, reader), changes))
    assert readers


def test_the_slices_values_read_what_is_hidden_and_how_it_is_scored() -> None:
    check(options_of(("odam",), {"baseline": "lung"}, channels=True))
    check(options_of(("eigencam",), {"scorer": "match", "target": "thesis"}, channels=True))
    with pytest.raises(UsageError, match="--masks"):
        check(options_of(("odam",), {"masks": 9}, channels=True))


def test_numbers_of_missed_nodules() -> None:
    with pytest.raises(UsageError, match="--number counts detections"):
        check(ExplainOptions(outcomes=("fn",), numbers=(0,)))
    check(ExplainOptions(outcomes=("fn", "tp"), numbers=(0,)))


@pytest.mark.parametrize("methods", [("gradcam",), ("scorecam", "odam"), ("reciprocam",), ("ablationcam",)])
def test_the_thesis_target_and_gradients(methods: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="--target thesis"):
        check(ExplainOptions(methods=methods, target="thesis", scorer="match"))


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--nifti-form", "per-nodule"), "--nifti-form says how --nifti writes volumes: add --nifti"),
        (("--nifti-form", "fused"), "--nifti-form says how"),
        (("--nifti-space", "slices"), "--nifti-space says how"),
        (("--masks", "7"), "--masks 7 changes nothing of odam"),
        (("--method", "reciprocam", "--approximate", "window"), "this faster-rcnn has none"),
        (("--method", "reciprocam", "--scorer", "match"), "use --scorer roi"),
        (("--method", "scorecam", "--target", "box-w", "--scorer", "match"), "needs --scorer roi"),
        (("--method", "scorecam", "--target", "thesis"), "needs --scorer match"),
        (("--method", "drise", "--target", "logit"), "add --scorer"),
        (("--level", "P7"), "the model has levels P2, P3, P4"),
    ],
)
def test_the_command_says_it_in_a_line_and_writes_nothing(
    world: Path, more: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [str(world / "run"), str(world / "slices" / "test.json"), str(world / "maps")]
    assert run_app(command(), ["explain", *place, "--score-threshold", "0.05", "--max-images", "1", *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert line in said.err
    assert not (world / "maps").exists() or not list((world / "maps").glob("[!.]*"))


def test_what_was_not_found_is_said() -> None:
    assert ExplainOptions(score_threshold=0.25).nobody() == "no detection of score 0.25 or more"
    assert ExplainOptions(numbers=(7, 9)).nobody().endswith("or more and --number 7 or 9")
    assert ExplainOptions(outcomes=("tp",)).nobody() == "no detection of score 0.3 or more lies on a true box"
    assert ExplainOptions(outcomes=("fn",)).nobody() == "no true box was missed by detections of score 0.3 or more"
    both = "no detection of score 0.3 or more is false, and no true box was missed"
    assert ExplainOptions(outcomes=("fn", "fp")).nobody() == both
