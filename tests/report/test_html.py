"""The report: whole, self-contained, escaped, the same bytes each time, and honest about what was not run."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct import errors, registry
from lungct.cli import report as command
from lungct.report import panel, table
from lungct.report.folders import Places, read_outputs
from lungct.report.html import NOT_RUN, ReportOptions, write_report

from .synthetic_run import write_run

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and a check that tags close in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(folder: Path, out: Path, **options: Any) -> Page:
    write_report(out, Places.under(folder), ReportOptions(**options))
    return Page(out)


@pytest.fixture(scope="module")
def page(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write(run_folder, tmp_path_factory.mktemp("page") / "report.html")


def test_every_image_is_inside_the_page_and_has_words(page: Page) -> None:
    images = page.all("img")
    # 5 figures, the game drawn from its numbers, the key, and per hit and false alarm three pictures, per miss one.
    assert len(images) == 5 + 1 + 1 + 2 * 3 + 3 * 3 + 1
    for image in images:
        assert len(image["alt"]) > 20
        kind, data = re.fullmatch(r"data:(image/[a-z+]+);base64,(.+)", image["src"]).groups()  # type: ignore[union-attr]
        if kind != "image/svg+xml":
            with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
                picture.verify()


def test_nothing_is_fetched_and_nothing_runs(page: Page) -> None:
    assert page.all("script") == []
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
    style = next(data for data in page.rawdata.split("<style>")[1:]) if page.rawdata else ""
    assert "url(" not in style
    assert "@import" not in style


def test_headings_nest_and_tables_have_headers(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert {one["scope"] for one in page.all("th")} == {"col", "row"}
    anchors = {one["href"][1:] for one in page.all("a")}
    assert anchors == {one["id"] for one in page.all("section")}


def test_numbers_of_the_stages_are_in_it(page: Page) -> None:
    for words in ("0.712", "0.601 to 0.803", "0.550", "faster-rcnn", "Place proves nothing.", "< 0.001", "-0.150"):
        assert words in page.text
    assert "No patient is in two splits." in page.text
    assert "lungct select-slices" in page.text
    assert "For research only" in page.text
    assert "Not run" not in page.text


def test_same_outputs_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write(run_folder, tmp_path / name, cases=1)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("absent", NOT_RUN)
def test_a_missing_part_is_named_not_run(absent: str, run_folder: Path, tmp_path: Path) -> None:
    for place in run_folder.iterdir():
        if place.stem != absent:
            (tmp_path / place.name).symlink_to(place)
    page = write(tmp_path, tmp_path / "out" / "report.html", cases=1)
    name, makes = NOT_RUN[absent]
    assert f"Not run: {name}. {makes} makes this part." in page.text
    assert f"Not run yet: {name} ( {makes} )." in page.text


def test_a_comparison_has_its_part(run_folder: Path, tmp_path: Path) -> None:
    for place in run_folder.iterdir():
        (tmp_path / place.name).symlink_to(place)
    test = {"measure": "ap@0.5", "a": "one", "b": "two", "difference": 0.125, "ci95": [0.1, 0.2], "p": 0.004}
    runs = [{"name": name, "values": {"ap@0.5": 0.5}, "ci95": {}} for name in ("one", "two")]
    (tmp_path / "comparison").mkdir()
    document = {"runs": runs, "tests": [{**test, "p_holm": 0.008}]}
    (tmp_path / "comparison/comparison.json").write_text(json.dumps(document))
    page = write(tmp_path, tmp_path / "report.html", cases=0)
    for words in ("Comparison of runs", "+0.125", "0.100 to 0.200", "0.008"):
        assert words in page.text


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InputError, match="no stage has left anything"):
        write_report(tmp_path / "report.html", Places.under(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_hostile_names_are_only_words(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>&\"'"
    folder = write_run(tmp_path / "run", prefix="a&b\"'")
    method = folder / "heatmaps" / "<img src=x onerror=alert(1)>"
    shutil.move(folder / "heatmaps" / "eigencam", method)
    summary = json.loads((folder / "game" / "summary.json").read_text())
    summary["note"] = hostile
    summary["rows"][0]["method"] = hostile
    (folder / "game" / "summary.json").write_text(json.dumps(summary))
    page = write(folder, tmp_path / "report.html", title=hostile, cases=1)
    assert page.all("script") == []
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.text.count(hostile) >= 3
    assert "<img src=x onerror=alert(1)>" in page.text


def test_absolute_paths_do_not_leave_the_machine(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    record = {"schema": "lungct.run/1", "command": "train", "version": "1", "options": {"slices": "/home/jane/slices"}}
    (folder / "run" / "manifest.ndjson").write_text(json.dumps(record) + "\n")
    assert "slices slices" in write(folder, tmp_path / "report.html", cases=0).text
    assert "jane" not in (tmp_path / "report.html").read_text()


def test_the_leaderboard_leads_and_no_upper_bound_is_called_the_best(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "game", tmp_path / "game")
    summary = json.loads((tmp_path / "game" / "summary.json").read_text())
    best = {**next(row for row in summary["rows"] if row["rule"] == "adaptive"), "normalised": 0.5}
    bound = {**best, "method": registry.UPPER_BOUND, "normalised": 1.0}
    (tmp_path / "game" / "summary.json").write_text(json.dumps({**summary, "rows": [best, bound]}))
    words = write(tmp_path, tmp_path / "report.html", cases=0).text
    assert f"{best['method']}, 0 is chance" in words
    source = (tmp_path / "report.html").read_text()
    assert source.index("Leaderboard") < source.index("<figure>", source.index('id="game"'))


def test_a_game_without_maps_says_so(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder / "game", tmp_path / "game")
    (tmp_path / "game" / "summary.json").write_text(json.dumps({"rows": [], "tests": [], "note": "None."}))
    (tmp_path / "game" / "game.png").write_bytes(b"")
    page = write(tmp_path, tmp_path / "report.html")
    assert "No heatmap was scored." in page.text
    assert page.all("img") == []


def test_values_in_words() -> None:
    assert table.plain("0a" * 32) == "0a0a0a0a0a0a…"
    assert table.plain("/home/jane/slices/") == "slices"
    assert table.plain([[4.0, 5.3], [9]]) == "4, 5.3; 9"
    assert table.plain(None) == table.number(float("nan")) == table.interval([0.1, None]) == table.NONE
    assert table.probability(1e-9) == "< 0.001"


def test_a_patient_in_two_splits_is_said(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "slices"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        text = (run_folder / "slices" / f"{name}.json").read_text().replace(f"-{name}-0", "-both-0")
        (folder / f"{name}.json").write_text(text)
    assert "Patients in more than one split: 1." in write(folder.parent, tmp_path / "report.html").text


def test_broken_input_is_an_input_error_and_leaves_nothing(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "evaluation").mkdir(parents=True)
    (folder / "evaluation" / "metrics.json").write_text("{")
    with pytest.raises(errors.InputError, match=r"metrics\.json: not readable as JSON"):
        write_report(tmp_path / "report.html", Places.under(folder))
    (folder / "evaluation" / "metrics.json").write_text("[]")
    with pytest.raises(errors.InputError, match="not a JSON object"):
        write_report(tmp_path / "report.html", Places.under(folder))
    assert not (tmp_path / "report.html").exists()


def test_detections_are_read_with_the_split_they_are_of(run_folder: Path, tmp_path: Path) -> None:
    rows = [{"image_id": 101, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}]
    (tmp_path / "detections.json").write_text(json.dumps(rows))
    outputs = read_outputs(Places.under(run_folder, detections=tmp_path / "detections.json"))
    assert outputs.tested == "val"
    assert read_outputs(Places.under(run_folder)).tested == "test"


def test_controls_come_last(run_folder: Path) -> None:
    methods = read_outputs(Places.under(run_folder)).methods
    assert methods is not None
    assert list(methods) == ["eigencam", "gaussian"]
    assert "gaussian" in registry.CONTROLS


def test_the_shown_heat_is_of_the_detection_that_is_shown(page: Page) -> None:
    shown = [image for image in page.all("img") if image["alt"].startswith("Found 1.")]
    assert len(shown) == 3
    bare, _, gaussian = (_pixels(image["src"]) for image in shown)
    # In the enlarged half the control's heat lies on the nodule in the middle, and not in the corners.
    change = np.abs(gaussian - bare).sum(axis=2)[:, -320:]
    assert change[150:170, 150:170].mean() > 60
    assert change[:20, :20].mean() < 20
    cyan = np.abs(bare - panel.DETECTION).sum(axis=2) < 120
    assert cyan[:, -320:].sum() > 200


def _pixels(source: str) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def test_command_writes_once_and_says_what_it_would_do(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    planned = command.run(run_folder, out, dry_run=True)
    assert planned.data["parts"] == {**dict.fromkeys(NOT_RUN, True), "comparison": False}
    assert not out.exists()
    assert command.run(run_folder, out, cases=1).output == out
    with pytest.raises(errors.OutputExists):
        command.run(run_folder, out)
    assert command.run(run_folder, out, cases=0, overwrite=True).data["case_pictures"] == 0
    with pytest.raises(errors.InputError, match="no such file or folder"):
        command.run(run_folder, out, game=tmp_path / "nowhere")
