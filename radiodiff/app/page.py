"""The page: three tabs, whose work is done in :mod:`radiodiff.app.work`.

Nothing of a visitor is kept on the server between two calls but in the visitor's own session
(``gr.State``) and in temporary folders, which Gradio deletes.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from radiodiff.app import figures, work
from radiodiff.errors import InputError

MAX_UPLOAD = "20mb"
KEPT_SECONDS = 3600
"""Files of a visitor are deleted after this."""
FIRST_CITY = 2026
BUILDING_GRAY, STREET_GRAY = 70, 235
PICTURE_SIDE = 512
DOWNLOADS = ("map.tif", "map.kmz", "buildings.geojson", "samples.geojson", "map.csv", "map.png")


def one_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show an InputError as its one line; Gradio shows other errors without their content."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InputError as error:
            raise gr.Error(str(error), duration=None) from None

    return call


def build_page() -> gr.Blocks:
    """Return the page; :func:`serve` shows it."""
    with gr.Blocks(title="radiodiff", delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gr.Markdown("# radiodiff\nRadio maps from buildings, or from measurements.")
        with gr.Tab("City to map"):
            _city_tab(page)
        with gr.Tab("Survey to map"):
            _survey_tab()
        with gr.Tab("Sensing demo"):
            _sensing_tab()
    return page


def serve(host: str, port: int | None) -> None:
    """Show the page until interrupted.

    Args:
        host: address to listen on.
        port: None takes the first free one from 7860 on.
    """
    build_page().queue(default_concurrency_limit=1).launch(
        server_name=host, server_port=port, max_file_size=MAX_UPLOAD, share=False, inbrowser=False
    )


def _city_tab(page: gr.Blocks) -> None:
    first = work.simulated_city(FIRST_CITY)
    city = gr.State(first)
    place = gr.State(work.default_transmitter(first))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(
                label="Buildings: PNG (white, 1 m pixels) or GeoJSON",
                file_types=[".png", ".geojson", ".json"],
                height=140,
            )
            drawn = gr.Button("Another simulated city")
            picture = gr.Image(
                city_picture(first, place.value),
                label="Click where the transmitter is",
                interactive=False,
                elem_id="city-picture",
            )
            method = gr.Radio(
                [*work.METHODS, "both, and their difference"], value=work.ENGINE, label="Method"
            )
        with gr.Column(scale=2, min_width=300):
            plot = gr.Plot(show_label=False, elem_id="city-plot")
            said = gr.Markdown(elem_id="city-said")
    shown = [plot, said]
    inputs = [city, place, method]
    update = one_line(_show_city)

    def take(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
        where = work.default_transmitter(mask)
        return mask, where, city_picture(mask, where)

    @one_line
    def uploaded(path: str | None) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
        return take(first if path is None else work.read_city(Path(path)))

    def another() -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
        return take(work.simulated_city(time.time_ns() % 2**32))

    @one_line
    def clicked(mask: np.ndarray, event: gr.SelectData) -> tuple[tuple[int, int], np.ndarray]:
        column, row = (part // _zoom(mask) for part in event.index)
        if mask[row, column]:
            raise InputError(f"row {row}, column {column} is inside a building; click outdoors")
        return (row, column), city_picture(mask, (row, column))

    upload.change(uploaded, upload, [city, place, picture]).success(update, inputs, shown)
    drawn.click(another, None, [city, place, picture]).success(update, inputs, shown)
    picture.select(clicked, city, [place, picture]).success(update, inputs, shown)
    method.change(update, inputs, shown)
    page.load(update, inputs, shown)


def city_picture(mask: np.ndarray, transmitter: tuple[int, int]) -> np.ndarray:
    """Return a picture of buildings in dark gray with a red cross, enlarged to fill its frame."""
    picture = np.repeat(
        np.where(mask, BUILDING_GRAY, STREET_GRAY).astype(np.uint8)[..., None], 3, 2
    )
    row, column = transmitter
    picture[max(row - 4, 0) : row + 5, column] = (220, 30, 30)
    picture[row, max(column - 4, 0) : column + 5] = (220, 30, 30)
    return picture.repeat(_zoom(mask), axis=0).repeat(_zoom(mask), axis=1)


def _zoom(mask: np.ndarray) -> int:
    """Return how many pixels of the city's picture are one of its mask."""
    return -(-PICTURE_SIDE // max(mask.shape))


def _show_city(mask: np.ndarray, place: tuple[int, int], method: str) -> tuple[Any, str]:
    began = time.monotonic()
    wanted = [method] if method in work.METHODS else list(work.METHODS)
    maps = {name: work.city_gain(mask, place, name) for name in wanted}
    shown: list[figures.Panel] = [
        (name, np.where(mask, np.nan, gain), "Viridis", figures.GAIN_LIMITS)
        for name, gain in maps.items()
    ]
    said = f"{time.monotonic() - began:.1f} s"
    if len(maps) == 2:
        difference = maps[work.NETWORK] - maps[work.ENGINE]
        shown.append(("difference", np.where(mask, np.nan, difference), "RdBu_r", (-20.0, 20.0)))
        rms = float(np.sqrt(np.mean(difference[~mask] ** 2)))
        said += f"; the two differ by {rms:.1f} dB (RMS outdoors)"
    return figures.panels(shown, place), said


def _survey_tab() -> None:
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            table = gr.File(
                label="Samples: CSV, JSON, Excel or Parquet",
                file_types=[".csv", ".txt", ".json", ".geojson", ".xlsx", ".parquet"],
                height=140,
                elem_id="survey-upload",
            )
            said = gr.Markdown(elem_id="survey-said")
            with gr.Accordion("Columns and units (empty: found out)", open=False):
                x = gr.Textbox(label="x or longitude")
                y = gr.Textbox(label="y or latitude")
                value = gr.Textbox(label="value")
                kind = gr.Radio(["received_dbm", "path_gain_db"], value="received_dbm", label="are")
                power = gr.Number(value=None, label="transmit power, dBm")
            start = gr.Button("Reconstruct", variant="primary")
        with gr.Column(scale=2, min_width=300):
            picture = gr.Image(label="Map and standard deviation", elem_id="survey-map")
            report = gr.Markdown(elem_id="survey-report")
            files = gr.Files(label="Downloads")
    kept_folder = gr.State(None, time_to_live=KEPT_SECONDS, delete_callback=_remove)

    @one_line
    def look(path: str | None) -> str:
        return "" if path is None else work.recognised(Path(path))

    def make(
        path: str | None,
        before: Path | None,
        *settings: Any,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> tuple[str, str, list[str], Path]:
        _remove(before)
        try:
            if path is None:
                raise InputError("upload a table of samples first")
            progress(0.1, desc="fitting the field to the samples")
            x, y, value, kind, power = settings
            names = {"x": x, "y": y, "value": value}
            found, folder = work.map_survey(Path(path), names, kind, power)
        except InputError as error:
            raise gr.Error(str(error), duration=None) from None
        kept = [str(folder / name) for name in DOWNLOADS if (folder / name).is_file()]
        return str(folder / "map.png"), survey_text(found), kept, folder

    table.change(look, table, said)
    inputs = [table, kept_folder, x, y, value, kind, power]
    start.click(make, inputs, [picture, report, files, kept_folder])


def _remove(folder: Path | None) -> None:
    """Delete the folder of a survey's map, once it is replaced or its visitor is gone."""
    if folder is not None:
        shutil.rmtree(folder.parent, ignore_errors=True)


def survey_text(report: dict[str, Any]) -> str:
    """Return what a survey's report says, as Markdown."""
    lines = [
        f"{report['samples']} samples, median standard deviation {report['median_std_db']:.1f} dB"
    ]
    place = report["transmitter"]
    if place is not None:
        lines.append("transmitter at x = {:.6g}, y = {:.6g}".format(*place["x_y"]))
    validation = report.get("cross_validation")
    if validation is not None:
        rmse, kriging = (validation["random"][key] for key in ("rmse_db", "kriging_rmse_db"))
        lines.append(f"samples held out in turn: RMSE {rmse:.2f} dB (kriging {kriging:.2f} dB)")
    lines += [str(note) for note in report["notes"]]
    return "\n".join(f"- {line}" for line in lines)


def _sensing_tab() -> None:
    gr.Markdown(
        "A simulated map is measured at random pixels with noise. RadioDiff-Inverse reconstructs "
        "it from these alone, with no building and no transmitter given."
    )
    with gr.Row():
        missing = gr.Slider(0.5, 0.95, 0.8, step=0.05, label="missing share of the pixels")
        noise = gr.Slider(0.01, 0.2, 0.05, step=0.01, label="noise, model range (0.05 is 2.5 dB)")
        seed = gr.Number(value=FIRST_CITY, precision=0, minimum=0, label="city")
    run = gr.Button("Measure and reconstruct", variant="primary")
    said = gr.Markdown(elem_id="sensing-said")
    plot = gr.Plot(show_label=False, elem_id="sensing-plot")

    @one_line
    def show(
        missing: float,
        noise: float,
        seed: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str, Any]:
        began = time.monotonic()
        found = work.sense(
            missing, noise, int(seed), progress=lambda *steps: progress(steps, desc="sampling")
        )
        limits, std = figures.GAIN_LIMITS, "standard deviation"
        order = (("truth", "truth"), ("samples", "samples"), ("reconstruction", "mean"))
        shown: list[figures.Panel] = [
            (title, np.asarray(found[name]), "Viridis", limits) for title, name in order
        ]
        shown.append((std, np.asarray(found["std"]), "Magma", (0.0, 15.0)))
        error = np.asarray(found["mean"]) - np.asarray(found["truth"])
        shown.append(("error", error, "RdBu_r", (-20.0, 20.0)))
        shown.append(("linear interpolation", np.asarray(found["linear"]), "Viridis", limits))
        text = (
            f"PSNR {found['mean_psnr']:.1f} dB, linear interpolation "
            f"{found['linear_psnr']:.1f} dB; {time.monotonic() - began:.0f} s"
        )
        return text, figures.panels(shown)

    run.click(show, [missing, noise, seed], [said, plot])
