"""Every subcommand keeps the contract: help, example, man page, completion, JSON envelope, exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lungct.cli import app, docs

ROOT = Path(__file__).parents[2]
ENVELOPE_KEYS = {"schema", "command", "status", "exit_code", "output", "data", "failed", "error"}
LUNGCT = [sys.executable, "-m", "lungct"]


def lungct(*arguments: str, cwd: Path | None = None, stdin: str = "", **environment: str) -> Any:
    """Run the program as a user would."""
    return subprocess.run(
        [*LUNGCT, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def group() -> Any:
    return app.command()


@pytest.mark.parametrize("verb", app.VERBS)
def test_help_example_man_page(verb: str, group: Any) -> None:
    command = group.commands[verb]
    assert len(docs.first_sentence(command.help)) <= 53, "too long for the list of commands"
    assert f"Example: lungct {verb}" in " ".join(command.help.split())
    page = (ROOT / "man" / f"lungct-{verb}.1").read_text()
    for one in command.params:
        assert one.help, f"{verb} {one.name} has no help"
        if one.param_type_name == "option":
            assert one.opts[0].replace("-", r"\-") in page


@pytest.mark.parametrize("verb", app.VERBS)
def test_common_options_are_everywhere(verb: str, group: Any) -> None:
    flags = {flag for one in group.commands[verb].params for flag in one.opts}
    assert {"--config", "--json", "--quiet", "--verbose", "--debug"} <= flags
    writes = verb not in ("info",)
    assert ("--overwrite" in flags) == writes
    assert ("--dry-run" in flags) == writes


@pytest.mark.parametrize("verb", app.VERBS)
def test_unknown_option_is_usage_error_with_envelope(verb: str) -> None:
    done = lungct(verb, "--no-such-option", "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert set(document) == ENVELOPE_KEYS
    assert document["error"]["kind"] == "UsageError"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("preprocess", ["nowhere"]),
        ("audit", ["nowhere"]),
        ("select-slices", ["nowhere"]),
        ("merge", ["nowhere", "out"]),
        ("train", ["nowhere"]),
        ("predict", ["nowhere", "nothing.json"]),
        ("evaluate", ["nothing.json", "none.json"]),
        ("explain", ["nowhere", "nothing.json"]),
        ("segmentation-game", ["nowhere", "nothing.json"]),
        ("ablate", ["nothing.toml"]),
        ("export", ["nowhere", "m.pt2"]),
        ("report", ["nowhere"]),
    ],
)
def test_missing_input_is_one_line_and_exit_3(verb: str, arguments: list[str], tmp_path: Path) -> None:
    done = lungct(verb, *arguments, "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert re.search(r"no such|not a|nothing", done.stderr.replace("nothing.", "")), done.stderr
    document = json.loads(done.stdout)
    assert document["status"] == "error"
    assert document["error"]["kind"] == "InputError"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "preprocess here here",
        "preprocess here/inside here",
        "select-slices out out",
        "merge a here here",
        "predict run t.json t.json",
    ],
)
def test_output_never_takes_an_input_with_it(line: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("precious")
    done = lungct(*line.split(), "--overwrite", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds the input" in done.stderr
    assert (tmp_path / "t.json").read_text() == "precious"


def test_unknown_command_points_to_the_list() -> None:
    done = lungct("nosuch")
    assert done.returncode == 2
    assert "see 'lungct --help'" in done.stderr


def test_info_lists_every_choice() -> None:
    document = json.loads(lungct("info", "--json").stdout)
    assert set(document) == ENVELOPE_KEYS
    assert {"versions", "devices", "formats", "choices", "models"} == set(document["data"])
    assert document["data"]["models"]["fcos on resnet50"]["strides"] == [4, 8, 16]
    assert "eigencam" in document["data"]["choices"]["methods"]


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[phantom]\npatients = 3\n")

    def patients(*arguments: str, **environment: str) -> int:
        done = lungct("phantom", "p", "--dry-run", "--json", *arguments, cwd=tmp_path, **environment)
        return int(json.loads(done.stdout)["data"]["patients"])

    default = patients()
    assert patients("--config", "c.toml") == 3 != default
    assert patients("--config", "c.toml", LUNGCT_PHANTOM_PATIENTS="4") == 4
    assert patients("--config", "c.toml", "--patients", "5", LUNGCT_PHANTOM_PATIENTS="4") == 5


def test_unknown_toml_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[phantom]\npatient = 3\n")
    done = lungct("phantom", "p", "--config", "c.toml", cwd=tmp_path)
    assert done.returncode == 3
    assert "did you mean patients?" in done.stderr


def test_dash_without_a_path_is_refused(tmp_path: Path) -> None:
    done = lungct("select-slices", "-", "slices", cwd=tmp_path)
    assert done.returncode == 2
    assert "no path came on stdin" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from lungct.cli.app import command\n"
        f"try: command().main({arguments!r}, standalone_mode=False)\n"
        "except BaseException as leave: assert type(leave).__name__ == 'Exit', leave\n"
        "heavy = {'torch', 'numpy', 'SimpleITK', 'scipy', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_bash_completion_offers_verbs_and_choices() -> None:
    def complete(line: str) -> list[str]:
        words = line.split(" ")
        done = lungct(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), _LUNGCT_COMPLETE="complete_bash")
        return str(done.stdout).split()

    assert complete("lungct seg") == ["segmentation-game"]
    assert complete("lungct explain --method eig") == ["eigencam"]


def test_generated_files_are_up_to_date() -> None:
    assert docs.main(["--check"]) == 0


def test_zsh_completion_starts_with_its_directive() -> None:
    assert (ROOT / "completions" / "_lungct").read_text().startswith("#compdef lungct\n")


def test_readme_names_every_command_and_package() -> None:
    readme = (ROOT / "README.md").read_text()
    for verb in app.VERBS:
        assert f"`{verb}`" in readme
    packages = {path.parent.name for path in (ROOT / "lungct").glob("*/__init__.py")}
    for package in packages:
        assert re.search(rf"^\s*{package}/ ", readme, re.MULTILINE), f"{package} is not on the map"


def test_help_costs_little() -> None:
    def cpu(*command: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    help_costs = min(cpu("-m", "lungct", "--help") for _ in range(3))
    numpy_costs = min(cpu("-c", "import typer, rich, numpy") for _ in range(3))
    assert help_costs < 1.5 * numpy_costs
