"""A grid of runs: read, listed for the shell, run, resumed, compared."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import pytest

from lungct.cli import ablate as verb
from lungct.cli import app
from lungct.errors import InputError, OutputExists, UsageError
from lungct.training.ablate import ablate, commands_of
from lungct.training.ablation_plan import read_plan
from lungct.training.options import Execution
from tests.training.disks import write_disks
from tests.training.test_train import ONE_THREAD

PLAN = """
[grid]
detector = ["faster-rcnn", "fcos"]
{more}
[train]
preset = "tiny"
epochs = 1
batch = 4
crop = 64
augment = "none"
validate-every = 1
[evaluate]
bootstrap = 30
measures = ["ap@0.5", "froc_mean"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    write_disks(tmp_path / "slices", train=4, val=4, size=72)
    (tmp_path / "slices" / "test.json").write_bytes((tmp_path / "slices" / "val.json").read_bytes())
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(more=""))
    return path


def test_a_grid_is_run_once_and_compared(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = verb.run(plan, out, device="cpu", threads=1)
    assert result.output == out
    assert {one.name for one in (out / "runs").iterdir()} == {"faster-rcnn", "fcos"}
    assert [(one["measure"], one["a"], one["b"]) for one in result.data["tests"]] == [
        ("ap@0.5", "faster-rcnn", "fcos"),
        ("froc_mean", "faster-rcnn", "fcos"),
    ]
    rows = list(csv.DictReader((out / "ablation.csv").read_text().splitlines()))
    assert [row["detector"] for row in rows] == ["faster-rcnn", "fcos"]
    for row in rows:
        metrics = json.loads((out / "evaluations" / row["run"] / "metrics.json").read_text())
        assert float(row["ap@0.5"]) == metrics["ap"]["0.5"]
        assert float(row["ap@0.5 high95"]) == metrics["ci95"]["ap@0.5"][1]
    before = {one: one.stat().st_mtime_ns for one in (out / "runs").rglob("*")}
    with pytest.raises(OutputExists, match="--resume to go on"):
        ablate(read_plan(plan), out, execution=ONE_THREAD)
    plan.write_text(PLAN.format(more="").replace("epochs = 1", "epochs = 2"))
    with pytest.raises(UsageError, match="made with other options: epochs was 1, is 2"):
        ablate(read_plan(plan), out, execution=ONE_THREAD, resume=True)
    plan.write_text(PLAN.format(more="").replace("bootstrap = 30", "bootstrap = 31"))
    with pytest.raises(UsageError, match="judged with other options: bootstrap was 30, is 31"):
        ablate(read_plan(plan), out, execution=ONE_THREAD, resume=True)
    plan.write_text(PLAN.format(more=""))
    train = tmp_path / "slices" / "train.json"
    learned = train.read_text()
    train.write_text(learned + "\n")
    with pytest.raises(UsageError, match="made with other options: slices was"):
        ablate(read_plan(plan), out, execution=ONE_THREAD, resume=True)
    train.write_text(learned)
    shutil.rmtree(out / "evaluations" / "fcos")
    again = ablate(read_plan(plan), out, execution=ONE_THREAD, resume=True)
    assert again["rows"] == result.data["rows"]
    assert {one: one.stat().st_mtime_ns for one in (out / "runs").rglob("*")} == before


def test_the_lines_for_the_shell_are_commands(plan: Path, tmp_path: Path) -> None:
    plan.write_text(PLAN.format(more='ema = [0.0, 0.9]\nweights = ["none", "earlier/run"]'))
    lines = commands_of(read_plan(plan), Path("my out"), Execution(device="cpu", threads=2))
    assert len(lines) == 9
    group = app.command()
    for line in lines:
        for part in line.split(" && "):
            program, name, *arguments = shlex.split(part)
            assert program == "lungct"
            group.commands[name].make_context(name, arguments)
    assert "--weights " + shlex.quote(str(tmp_path / "earlier" / "run")) in lines[1]
    assert "--augment none" in lines[0]
    assert "'my out/runs/fcos_ema0.9_run'" in lines[7]
    assert lines[8].count("evaluations") == 8


def test_files_that_a_plan_names_are_seen_from_its_folder(plan: Path, tmp_path: Path) -> None:
    plan.write_text(PLAN.format(more='hard-negatives = ["", "found.json"]'))
    named = {one.options.hard_negatives for one in read_plan(plan).runs}
    assert named == {"", str(tmp_path / "found.json")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[grid\n", "not readable as TOML"),
        ("[train]\nepochs = 1\n", r"has no \[grid\]"),
        ('[grid]\ndetektor = ["fcos"]\n', "unknown key 'detektor': did you mean detector?"),
        ('[grids]\ndetector = ["fcos"]\n', "unknown table or key 'grids': did you mean grid?"),
        ('[grid]\ndetector = "fcos"\n', "is not a list of values"),
        ("[grid]\nbatch = [1]\n[predict]\ntheta = 1\n", "did you mean tta?"),
    ],
)
def test_a_plan_that_is_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_plan(tmp_path / "plan.toml")


def test_runs_are_checked_before_the_first_begins(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[grid]\nlr = [0.1, -1.0]\n")
    with pytest.raises(UsageError, match="--lr is out of range"):
        read_plan(tmp_path / "plan.toml")
    (tmp_path / "plan.toml").write_text('[grid]\nslices = ["a/x", "b/x"]\n')
    with pytest.raises(UsageError, match="two runs of the grid would be called x"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('detector = ["fcos", "retina-net"]', "detector 'retina-net' is none of .*: did you mean retinanet?"),
        ('preset = ["tiny", "huge"]', "preset 'huge' is none of default, tiny"),
        ('lr = ["fast"]', "lr takes a number, not 'fast'"),
        ("epochs = [true]", "epochs takes a whole number, not True"),
        ("weights = [3]", "weights takes a text, not 3"),
        ('lr = [0.1]\n[predict]\ntta = "flop"', "tta 'flop' is none of .*: did you mean flips?"),
        ("lr = [0.1]\n[predict]\nscore-threshold = 2", "score_threshold .0..1. is out of range"),
        ('lr = [0.1]\n[evaluate]\nmeasures = "ap@0.5"', "measures takes a list"),
    ],
)
def test_values_that_cannot_be_are_told_before_the_first_run(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(f"[grid]\n{text}\n")
    with pytest.raises(UsageError, match=said):
        read_plan(tmp_path / "plan.toml")


def test_what_a_later_run_lacks_is_told_before_the_first(plan: Path, tmp_path: Path) -> None:
    for more, said in (
        ('slices = ["slices", "other"]', "no such folder"),
        ('weights = ["none", "x.npz"]', "begins with it"),
    ):
        plan.write_text(PLAN.format(more=more))
        with pytest.raises(InputError, match=said):
            ablate(read_plan(plan), tmp_path / "out", execution=ONE_THREAD)
        assert not (tmp_path / "out").exists()
