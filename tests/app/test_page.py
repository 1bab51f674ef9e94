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
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio")
rasterio = pytest.importorskip("rasterio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
BUILDING, STREET = 70, 235
"""Gray levels of the city's picture."""
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
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1000)  # banners and figures fade in
        path = Path(PICTURES) / f"page_{name}.png"
        page.screenshot(path=path)
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(256, kmeans=2).save(path, optimize=True)


def click_city(page, row: float, column: float) -> None:
    """Click a place of the city's picture, in shares of its height and width."""
    picture = page.locator("#city-picture img")
    picture.wait_for()
    box = picture.bounding_box()
    picture.click(position={"x": column * box["width"], "y": row * box["height"]})


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def wait_for_city(page, *gray: tuple[float, float, int]) -> None:
    """Wait until the city's picture has gray levels at places, in shares of its height, width."""
    page.wait_for_function(
        """wanted => {
            const picture = document.querySelector('#city-picture img');
            if (!picture?.complete) return false;
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 512;
            const context = canvas.getContext('2d');
            context.drawImage(picture, 0, 0, 512, 512);
            return wanted.every(([row, column, gray]) =>
                context.getImageData(512 * column, 512 * row, 1, 1).data[0] === gray);
        }""",
        arg=list(gray),
    )


def wait_for_crosses(page, count: int) -> None:
    page.wait_for_function(
        "count => document.querySelector('.js-plotly-plot')"
        "?.querySelectorAll('.scatterlayer .point').length === count",
        arg=count,
    )


def test_a_city_its_transmitters_and_vehicles_give_maps_and_a_wall_an_error(page, tmp_path):
    mask, cars = np.zeros((2, 128, 128), np.uint8)
    mask[32:96, 32:64] = 255
    cars[8:14, 80:120] = 255
    for name, drawn in (("city", mask), ("cars", cars), ("small", cars[:64])):
        Image.fromarray(drawn).save(tmp_path / f"{name}.png")
    page.locator("#city-upload input[type=file]").set_input_files(tmp_path / "city.png")
    wait_for_city(page, (0.5, 0.375, BUILDING), (0.1, 0.1, STREET), (0.9, 0.9, STREET))
    page.locator("#vehicles-upload input[type=file]").set_input_files(tmp_path / "cars.png")
    page.get_by_label("A click adds a transmitter").check()
    click_city(page, 0.5, 0.75)
    wait_for_crosses(page, 2)
    click_city(page, 0.9, 0.1)
    wait_for_crosses(page, 3)
    page.get_by_label("both, and their difference").check()
    page.locator("#city-said", has_text="knows no vehicles").wait_for()
    assert page.locator(".js-plotly-plot:visible").count() == 3
    for plot in page.locator(".js-plotly-plot:visible").all():
        drawn, block = (
            found.first.bounding_box()["width"]
            for found in (
                plot.locator(".main-svg"),
                plot.locator("xpath=ancestor::*[contains(@class, 'map')]"),
            )
        )
        assert drawn <= block
    layer = page.locator(".js-plotly-plot .nsewdrag").first
    box = layer.bounding_box()
    layer.hover(position={"x": 0.8 * box["width"], "y": 0.8 * box["height"]})
    hover = page.locator(".js-plotly-plot .hovertext").first
    hover.wait_for()
    assert re.search(r"row \d+, column \d+: -\d+\.\d dB", hover.text_content())
    keep(page, "city")
    click_city(page, 0.5, 0.375)
    page.get_by_text("is inside a building; click outdoors").wait_for()
    assert page.locator("#city-picture img").is_visible()
    keep(page, "error")
    page.locator("#vehicles-upload").get_by_label("Clear").click()
    page.locator("#vehicles-upload input[type=file]").set_input_files(tmp_path / "small.png")
    page.get_by_text("small.png: 64 x 128 pixels (rows x columns), the city has").wait_for()


def test_a_drawn_building_shadows_the_map(page):
    page.get_by_text("Draw the buildings").click()
    canvas = page.locator("#city-canvas canvas").first
    canvas.wait_for()
    page.wait_for_timeout(1000)  # the editor lays itself out anew in an opened panel
    page.locator("#city-canvas").get_by_label("Brush").first.click()
    box = canvas.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.3 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], middle, steps=10)
    page.mouse.up()
    page.wait_for_timeout(1000)  # and sends the drawing a moment later
    page.get_by_role("button", name="Use the drawing").click()
    wait_for_city(page, (0.5, 0.4, BUILDING), (0.5, 0.6, BUILDING), (0.1, 0.5, STREET))
    page.locator("#city-said", has_text=" s").wait_for()


def write_survey(path: Path, count: int) -> Path:
    """Write samples round 12 degrees east and 48 degrees north, some 200 m across."""
    rng = np.random.default_rng(count)
    xy = rng.uniform(-100.0, 100.0, (count, 2))
    power = -40.0 - 30.0 * np.log10(np.hypot(*xy.T) + 1.0) + rng.normal(0, 2, count)
    degrees = np.array([12.0, 48.0]) + xy / [74_600.0, 111_200.0]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lon", "lat", "rssi"])
        writer.writerows(np.column_stack([degrees, power]).round(7).tolist())
    return path


def upload_survey(page, path: Path) -> None:
    open_tab(page, "Survey to map")
    page.locator("#survey-upload input[type=file]").set_input_files(path)


def test_two_visitors_get_their_own_maps_and_every_download(page, browser, address, tmp_path):
    other = browser.new_page()
    other.set_default_timeout(PATIENCE_MS)
    other.goto(address)
    counts = {page: 300, other: 200}
    for visitor, count in counts.items():
        upload_survey(visitor, write_survey(tmp_path / f"survey_{count}.csv", count))
        visitor.locator("#survey-said", has_text=f"{count} rows; x is lon").wait_for()
        visitor.locator("#survey-map .scatterlayer .point").first.wait_for()  # samples at once
    for visitor in counts:
        visitor.get_by_role("button", name="Reconstruct", exact=True).click()
    for visitor, count in counts.items():
        visitor.locator("#survey-report", has_text=f"{count} samples").wait_for()
    other.close()
    heat = page.locator("#survey-map .heatmaplayer image")
    heat.wait_for(state="attached")
    page.locator("#survey-map .gtitle", has_text="received power, dBm").wait_for()
    page.get_by_label("samples", exact=True).check()
    page.wait_for_timeout(1000)  # the figure is drawn anew
    keep(page, "survey")
    power = heat.get_attribute("href") or heat.get_attribute("xlink:href")
    page.get_by_label("standard deviation", exact=True).check()
    page.locator("#survey-map .gtitle", has_text="standard deviation, dB").wait_for()
    assert power != (heat.get_attribute("href") or heat.get_attribute("xlink:href"))
    files = {}
    links = page.locator("#survey-files a[download]")
    for number in range(links.count()):
        with page.expect_download() as download:
            links.nth(number).click()
        files[download.value.suggested_filename] = download.value.path()
    with rasterio.open(files.pop("map.tif")) as raster:
        assert raster.crs is not None
        assert np.isfinite(raster.read(1)).any()
    assert len(json.loads(files.pop("samples.geojson").read_text())["features"]) == 300
    assert json.loads(files.pop("buildings.geojson").read_text())["type"] == "FeatureCollection"
    assert zipfile.ZipFile(files.pop("map.kmz")).testzip() is None
    assert len(files.pop("map.csv").read_text().splitlines()) > 300
    Image.open(files.pop("map.png")).verify()
    assert not files


def test_a_wrong_column_is_named_and_can_be_corrected(page, tmp_path):
    upload_survey(page, write_survey(tmp_path / "survey.csv", 50))
    page.get_by_text("Columns and units").click()
    box = page.get_by_label("value", exact=True)
    box.fill("height")
    box.blur()
    banner = page.get_by_test_id("toast-body")
    banner.get_by_text("survey.csv: ").wait_for()
    assert "height" in banner.inner_text()
    assert "/" not in banner.inner_text()
    box.fill("rssi")
    box.blur()
    page.locator("#survey-said", has_text="value is rssi").wait_for()


def test_a_table_above_the_limit_is_refused(page, tmp_path):
    table = tmp_path / "large.csv"
    table.write_text("lon,lat,rssi\n" + "12.0000000,48.0000000,-80.0\n" * 800_000)
    assert table.stat().st_size > 20 * 1000**2
    upload_survey(page, table)
    page.get_by_test_id("toast-body").get_by_text(re.compile("maximum.* size|too large")).wait_for()
    assert page.locator("#survey-said").inner_text().strip() == ""


def test_the_experiment_beats_interpolation(page):
    open_tab(page, "Sensing demo")
    page.get_by_role("button", name="Measure and reconstruct").click()
    said = page.locator("#sensing-said", has_text="PSNR")
    said.wait_for()
    words = said.inner_text().split()
    assert float(words[1]) > float(words[words.index("interpolation") + 1])
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length >= 6")
    keep(page, "sensing")


def test_a_narrow_phone_needs_no_sideways_scrolling(browser, address):
    phone = browser.new_page(viewport={"width": 375, "height": 812}, is_mobile=True)
    phone.set_default_timeout(PATIENCE_MS)
    phone.goto(address)
    click_city(phone, 0.45, 0.7)
    phone.get_by_label("both, and their difference").check()
    phone.locator("#city-said", has_text="differ by").wait_for()
    narrow = "document.documentElement.scrollWidth <= 376"
    assert phone.evaluate(narrow)
    keep(phone, "phone_city")
    click_city(phone, 0.15, 0.5)
    phone.get_by_text("is inside a building; click outdoors").wait_for()
    keep(phone, "phone_error")
    plot = phone.locator(".js-plotly-plot").first
    assert plot.bounding_box()["width"] > 250  # the maps stand one below the other
    phone.get_by_test_id("toast-close").click()
    open_tab(phone, "Survey to map")
    keep(phone, "phone_survey")
    assert phone.evaluate(narrow)
    phone.locator(".overflow-menu > button").click()  # there is no room for the third
    phone.locator(".overflow-dropdown button", has_text="Sensing demo").click()
    phone.get_by_role("button", name="Measure and reconstruct").wait_for()
    keep(phone, "phone_sensing")
    assert phone.evaluate(narrow)
    phone.close()
