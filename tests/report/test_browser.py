"""The report in headless Chromium: every picture shows, nothing overflows, nothing is fetched, nothing complains."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungct.report.folders import Places
from lungct.report.html import ReportOptions, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)
WIDTHS = (390, 1280)
OWN_HOSTS = ("google.com", "googleapis.com")
"""Chromium's own services, which it asks for at its start and which no rule lets it reach."""

# The page forbids scripts; the copy that is measured has that rule taken out and this put in.
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, images = [...document.images];
  parent.postMessage({width: innerWidth, scroll: root.scrollWidth, images: images.length,
    broken: images.filter(one => !one.complete || one.naturalWidth === 0 || one.clientWidth < 100).map(one => one.alt),
    wide: images.filter(one => one.getBoundingClientRect().right > innerWidth).map(one => one.alt),
    nothing: [...document.querySelectorAll("section")].filter(one => one.clientHeight < 60).map(one => one.id)}, "*");
});</script>"""
FRAMES = """<!DOCTYPE html><pre id="out"></pre><script>
  const found = [];
  addEventListener("message", event => { found.push(event.data); out.textContent = JSON.stringify(found); });
</script>"""

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


def chromium(url: Path, profile: Path, *more: str) -> Any:
    """Run the browser on a file, with no name resolved."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", *more]
    done = subprocess.run([*command, url.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def report(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report(out, Places.under(run_folder), ReportOptions(cases=1))
    return out


def test_pictures_show_and_nothing_overflows(report: Path, tmp_path: Path) -> None:
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report.read_text())
    (tmp_path / "copy.html").write_text(page.replace("</body>", PROBE + "</body>"))
    frames = "".join(
        f'<iframe src="copy.html" style="border:0;height:900px;width:{width}px"></iframe>' for width in WIDTHS
    )
    (tmp_path / "frames.html").write_text(FRAMES + frames)
    done = chromium(tmp_path / "frames.html", tmp_path / "profile", "--dump-dom", "--virtual-time-budget=10000")
    text = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text is not None
    measured = sorted(json.loads(html.unescape(text[1])), key=lambda one: one["width"])
    assert [one["width"] for one in measured] == list(WIDTHS)
    for one in measured:
        assert one["images"] > 10
        assert one["broken"] == []
        assert one["wide"] == []
        assert one["nothing"] == []
        assert one["scroll"] <= one["width"]


@pytest.mark.parametrize("scheme", ["0", "1"], ids=["dark", "light"])
def test_it_paints_without_complaint_and_without_network(scheme: str, report: Path, tmp_path: Path) -> None:
    log, shot = tmp_path / "net.json", tmp_path / "shot.png"
    done = chromium(
        report,
        tmp_path / "profile",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--log-net-log={log}",
        f"--screenshot={shot}",
        "--window-size=1280,2400",
    )
    assert "CONSOLE" not in done.stderr
    hosts = set(re.findall(r'"url":"(?:https?|wss?)://([^/"]+)', log.read_text()))
    assert [host for host in hosts if not host.endswith(OWN_HOSTS)] == []
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape == (2400, 1280)
    # The paper follows the scheme, and every fifth of the page has ink on it.
    assert (np.median(pixels) < 60) == (scheme == "0")
    assert all(part.std() > 5 for part in np.array_split(pixels, 5))


def test_it_prints_on_white_paper(report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    dark = "--blink-settings=preferredColorScheme=0"
    chromium(report, tmp_path / "profile", dark, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    assert pdf.read_bytes().startswith(b"%PDF")
    if shutil.which("pdftoppm") is None:
        pytest.skip("needs pdftoppm to look at the pages")
    subprocess.run(["pdftoppm", "-r", "30", "-gray", str(pdf), str(tmp_path / "sheet")], check=True)
    sheets = sorted(tmp_path.glob("sheet*.pgm"))
    assert 2 <= len(sheets) <= 8
    for sheet in sheets:
        with Image.open(sheet) as picture:
            assert np.median(np.asarray(picture)) > 240
