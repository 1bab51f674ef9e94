"""The page in a real browser: the main path of every tab, an error, and a narrow screen."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
PATIENCE_MS = 1000 * int(os.environ.get("RADIODIFF_PAGE_PATIENCE_S", "120"))
PICTURES = os.environ.get("RADIODIFF_PAGE_PICTURES")
"""Folder that takes the screenshots of the docs."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("page")
    environment = os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(folder)}
    command = [sys.executable, "-m", "radiodiff", "app", "--port", str(port)]
    server = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline
            time.sleep(0.5)
    yield url
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser, address):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(address)
    yield opened
    opened.close()


def keep(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"page_{name}.png")


def click_city(page, row: float, column: float) -> None:
    """Click a place of the city's picture, in shares of its height and width."""
    picture = page.locator("#city-picture img")
    picture.wait_for()
    box = picture.bounding_box()
    picture.click(position={"x": column * box["width"], "y": row * box["height"]})


def test_a_click_in_a_city_gives_a_map_and_one_in_a_building_an_error(page, tmp_path):
    mask = np.zeros((128, 128), np.uint8)
    mask[32:96, 32:64] = 255
    Image.fromarray(mask).save(tmp_path / "city.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "city.png")
    page.locator("#city-said", has_text=" s").wait_for()
    click_city(page, 0.5, 0.75)
    page.get_by_label("both, and their difference").check()
    page.locator("#city-said", has_text="differ by").wait_for()
    page.locator("#city-plot .plotly").first.wait_for()
    page.wait_for_timeout(1000)
    keep(page, "city")
    click_city(page, 0.5, 0.375)
    toast = page.get_by_text("is inside a building; click outdoors")
    toast.wait_for()
    keep(page, "error")


def test_a_survey_becomes_a_map_with_downloads(page, tmp_path):
    rng = np.random.default_rng(0)
    xy = rng.uniform(0.0, 200.0, (300, 2))
    power = -40.0 - 30.0 * np.log10(np.hypot(*(xy - 100.0).T) + 1.0) + rng.normal(0, 2, 300)
    with (tmp_path / "survey.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "rssi"])
        writer.writerows(np.column_stack([xy, power]).round(2).tolist())
    page.get_by_role("tab", name="Survey to map").click()
    page.locator("#survey-upload input[type=file]").set_input_files(tmp_path / "survey.csv")
    page.locator("#survey-said", has_text="300 rows").wait_for()
    page.get_by_role("button", name="Reconstruct", exact=True).click()
    page.locator("#survey-report", has_text="300 samples").wait_for()
    page.locator(
        "td", has_text=re.compile(r"map\s*\.csv")
    ).first.wait_for()  # stem and suffix are apart
    page.locator("#survey-map img").wait_for()
    page.wait_for_timeout(1000)
    keep(page, "survey")
    (tmp_path / "survey.json").write_text(json.dumps({"no": "table"}))
    page.reload()
    page.get_by_role("tab", name="Survey to map").click()
    page.locator("#survey-upload input[type=file]").set_input_files(tmp_path / "survey.json")
    page.locator("td", has_text=re.compile(r"survey\s*\.json")).first.wait_for()


def test_the_experiment_beats_interpolation(page):
    page.get_by_role("tab", name="Sensing demo").click()
    page.get_by_role("button", name="Measure and reconstruct").click()
    said = page.locator("#sensing-said", has_text="PSNR")
    said.wait_for()
    words = said.inner_text().split()
    assert float(words[1]) > float(words[words.index("interpolation") + 1])
    page.locator("#sensing-plot .plotly").first.wait_for()
    page.wait_for_timeout(1000)
    keep(page, "sensing")


def test_a_narrow_phone_needs_no_sideways_scrolling(browser, address):
    phone = browser.new_page(viewport={"width": 375, "height": 812}, is_mobile=True)
    phone.set_default_timeout(PATIENCE_MS)
    phone.goto(address)
    click_city(phone, 0.02, 0.02)
    phone.get_by_label("both, and their difference").check()
    for tab in ("City to map", "Survey to map", "Sensing demo"):
        if tab == "Sensing demo":  # a narrow screen has no room for the third
            phone.locator(".overflow-menu > button").click()
            phone.locator(".overflow-dropdown button", has_text=tab).click()
        else:
            phone.get_by_role("tab", name=tab).click()
        phone.wait_for_timeout(500)
        keep(phone, f"phone_{tab.split()[0].lower()}")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 376
    phone.close()
