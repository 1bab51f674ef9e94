"""The page: three tabs, whose work is done in :mod:`radiodiff.app.work`.

Nothing of a visitor is kept on the server between two calls but in the visitor's own session
(``gr.State``) and in temporary folders, which Gradio deletes.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from radiodiff.app import figures, work
from radiodiff.errors import InputError
from radiodiff.units import MAP_SIZE

MAX_UPLOAD = "20mb"
KEPT_SECONDS = 3600
"""Files of a visitor are deleted after this."""
FIRST_CITY = 2026
BUILDING_GRAY, STREET_GRAY = 70, 235
VEHICLE_COLOUR, CROSS_COLOUR = (60, 110, 220), (220, 30, 30)
PICTURE_SIDE = 512
DIFFERENCE_LIMITS = (-20.0, 20.0)
MAP_STYLE = ".map { flex: 0 0 min(385px, 100%) !important; }"
"""A map does not change its width when others appear beside it: its figure would not follow."""
BOTH = "both, and their difference"
DOWNLOADS = ("map.tif", "map.kmz", "buildings.geojson", "samples.geojson", "map.csv", "map.png")


def one_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show an InputError as its one line; Gradio shows other errors without their content."""

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except InputError as error:
            raise _banner(error, arguments) from None

    return call


def _banner(error: InputError, arguments: Sequence[Any]) -> gr.Error:
    """Return the error to show; uploads have their own name in it, not where they are kept."""
    line = str(error)
    for upload in arguments:
        if isinstance(upload, str) and Path(upload).is_absolute():
            line = line.replace(upload, Path(upload).name)
    return gr.Error(line, print_exception=False)


def build_page() -> gr.Blocks:
    """Return the page; :func:`serve` shows it."""
    with gr.Blocks(title="radiodiff", delete_cache=(KEPT_SECONDS, KEPT_SECONDS)) as page:
        gr.HTML(f"<style>{MAP_STYLE}</style>", padding=False)
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
    city, vehicles = gr.State(first), gr.State(None)
    places = gr.State([work.default_transmitter(first)])
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(
                label="Buildings: PNG (white, 1 m pixels) or GeoJSON",
                file_types=[".png", ".geojson", ".json"],
                height=140,
                elem_id="city-upload",
            )
            with gr.Accordion("Draw the buildings", open=False):
                canvas = gr.Sketchpad(
                    label=f"{MAP_SIZE} m x {MAP_SIZE} m: choose the brush",
                    canvas_size=(MAP_SIZE, MAP_SIZE),
                    fixed_canvas=True,
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=16, colors=["#464646"], color_mode="fixed"),
                    elem_id="city-canvas",
                )
                use = gr.Button("Use the drawing")
            another = gr.Button("Another simulated city")
            picture = gr.Image(
                city_picture(first, places.value),
                label="Click where the transmitter is",
                interactive=False,
                elem_id="city-picture",
            )
            several = gr.Checkbox(label="A click adds a transmitter (map of the strongest)")
            method = gr.Radio([*work.METHODS, BOTH], value=work.ENGINE, label="Method")
            cars = gr.File(
                label="Vehicles, if any: PNG (white) of the same size",
                file_types=[".png"],
                height=140,
                elem_id="vehicles-upload",
            )
        with gr.Column(scale=2, min_width=300):
            with gr.Row():
                plots = [_map_plot() for _ in range(3)]
            said = gr.Markdown(elem_id="city-said")
    shown = [*plots, said]
    inputs = [city, vehicles, places, method]
    scene = [city, vehicles, places, picture, cars]
    update = one_line(_show_city)

    def take(mask: np.ndarray) -> tuple[Any, ...]:
        where = [work.default_transmitter(mask)]
        return mask, None, where, city_picture(mask, where), None

    @one_line
    def uploaded(path: str | None) -> tuple[Any, ...]:
        return take(first if path is None else work.read_city(Path(path)))

    @one_line
    def drawn(editor: dict[str, Any]) -> tuple[Any, ...]:
        return take(work.drawn_city(editor["layers"]))

    def simulated() -> tuple[Any, ...]:
        return take(work.simulated_city(time.time_ns() % 2**32))

    @one_line
    def with_vehicles(
        path: str | None, mask: np.ndarray, places: list[tuple[int, int]]
    ) -> tuple[Any, ...]:
        found = None if path is None else work.read_vehicles(Path(path), mask)
        return found, city_picture(mask, places, found)

    @one_line
    def clicked(
        mask: np.ndarray,
        found: np.ndarray | None,
        before: list[tuple[int, int]],
        add: bool,
        event: gr.SelectData,
    ) -> tuple[list[tuple[int, int]], np.ndarray]:
        column, row = (part // _zoom(mask) for part in event.index)
        after = work.add_transmitter(mask, before if add else [], (row, column))
        return after, city_picture(mask, after, found)

    # Hidden, because Gradio covers what an event fails to fill; the banner says why it failed.
    quiet = {"show_progress": "hidden"}
    for change in (
        upload.change(uploaded, upload, scene, **quiet),
        use.click(drawn, canvas, scene, **quiet),
        another.click(simulated, None, scene, **quiet),
        cars.upload(with_vehicles, [cars, city, places], [vehicles, picture], **quiet),
        cars.clear(with_vehicles, [cars, city, places], [vehicles, picture], **quiet),
        picture.select(clicked, [city, vehicles, places, several], [places, picture], **quiet),
    ):
        change.success(update, inputs, shown)
    method.change(update, inputs, shown)
    page.load(update, inputs, shown)


def _map_plot() -> gr.Plot:
    return gr.Plot(show_label=False, min_width=0, elem_classes="map")


def city_picture(
    mask: np.ndarray,
    transmitters: Sequence[tuple[int, int]],
    vehicles: np.ndarray | None = None,
) -> np.ndarray:
    """Return a picture of a city, enlarged to fill its frame.

    Args:
        mask: (H, W) bool, True inside buildings, which are dark gray.
        transmitters: rows and columns, red crosses.
        vehicles: (H, W) bool or None; they are blue.
    """
    gray = np.where(mask, BUILDING_GRAY, STREET_GRAY).astype(np.uint8)
    picture = np.repeat(gray[..., None], 3, 2)
    if vehicles is not None:
        picture[vehicles] = VEHICLE_COLOUR
    for row, column in transmitters:
        picture[max(row - 4, 0) : row + 5, column] = CROSS_COLOUR
        picture[row, max(column - 4, 0) : column + 5] = CROSS_COLOUR
    return picture.repeat(_zoom(mask), axis=0).repeat(_zoom(mask), axis=1)


def _zoom(mask: np.ndarray) -> int:
    """Return how many pixels of the city's picture are one of its mask."""
    return -(-PICTURE_SIDE // max(mask.shape))


def _show_city(
    mask: np.ndarray,
    vehicles: np.ndarray | None,
    places: list[tuple[int, int]],
    method: str,
) -> tuple[Any, ...]:
    began = time.monotonic()
    wanted = work.METHODS if method == BOTH else (method,)
    maps = {name: work.city_gain(mask, places, name, vehicles) for name in wanted}
    shown = [
        figures.panel(name, np.where(mask, np.nan, gain), "Viridis", figures.GAIN_LIMITS, places)
        for name, gain in maps.items()
    ]
    said = f"{time.monotonic() - began:.1f} s"
    if method == BOTH:
        difference = np.where(mask, np.nan, maps[work.NETWORK] - maps[work.ENGINE])
        title = f"{work.NETWORK} - {work.ENGINE}"
        shown.append(figures.panel(title, difference, "RdBu_r", DIFFERENCE_LIMITS, places))
        rms = float(np.sqrt(np.nanmean(difference**2)))
        said += f"; the two differ by {rms:.1f} dB (RMS outdoors)"
    if vehicles is not None and method != work.ENGINE:
        said += f"; {work.NETWORK} knows no vehicles"
    visible = [gr.update(value=figure, visible=True) for figure in shown]
    return *visible, *[gr.update(visible=False)] * (3 - len(shown)), said


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
            with gr.Row():
                layer = gr.Radio(figures.LAYERS, value=figures.LAYERS[0], label="Layer")
                marks = gr.CheckboxGroup(
                    figures.MARKS, value=["outlines", "transmitter"], label="Drawn on it"
                )
            picture = gr.Plot(show_label=False, min_width=0, elem_id="survey-map")
            report = gr.Markdown(elem_id="survey-report")
            files = gr.Files(label="Downloads", elem_id="survey-files")
    kept_folder = gr.State(None, time_to_live=KEPT_SECONDS, delete_callback=_remove)
    kept_layers = gr.State(None, time_to_live=KEPT_SECONDS)

    @one_line
    def look(path: str | None, *settings: Any) -> tuple[Any, ...]:
        if path is None:
            return "", None, None
        text, layers = work.recognised(Path(path), work.survey_keys(*settings))
        return text, layers, figures.survey_panel(layers, "map", ())

    @one_line
    def look_again(before: work.SurveyLayers | None, *inputs: Any) -> tuple[Any, ...]:
        text, layers, drawn = look(*inputs)
        made = before is not None and before.mean is not None
        return (text, gr.skip(), gr.skip()) if made else (text, layers, drawn)

    def draw(layers: work.SurveyLayers | None, layer: Any, marks: list[str]) -> Any:
        return None if layers is None else figures.survey_panel(layers, layer, marks)

    def make(
        path: str | None,
        before: Path | None,
        layer: Any,
        marks: list[str],
        *settings: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        _remove(before)
        began = time.monotonic()

        def show(done: int, total: int) -> None:
            left = (time.monotonic() - began) * (total - done) / done
            progress(done / total, desc=f"about {left:.0f} s left")

        try:
            if path is None:
                raise InputError("upload a table of samples first")
            keys = work.survey_keys(*settings)
            found, folder, layers = work.map_survey(Path(path), keys, show)
        except InputError as error:
            raise _banner(error, [path]) from None
        kept = [str(folder / name) for name in DOWNLOADS if (folder / name).is_file()]
        drawn = figures.survey_panel(layers, layer, marks)
        return drawn, survey_text(found), kept, folder, layers

    settings = [x, y, value, kind, power]
    looked = [said, kept_layers, picture]
    table.change(look, [table, *settings], looked, show_progress="hidden")
    for change in (kind.change, *(box.blur for box in (x, y, value, power))):
        change(look_again, [kept_layers, table, *settings], looked, show_progress="hidden")
    for switch in (layer.change, marks.change):
        switch(draw, [kept_layers, layer, marks], picture, show_progress="hidden")
    inputs = [table, kept_folder, layer, marks, *settings]
    outputs = [picture, report, files, kept_folder, kept_layers]
    start.click(make, inputs, outputs, show_progress_on=picture)


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
        lines.append("transmitter at x = {:.8g}, y = {:.8g}".format(*place["x_y"]))
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
    plots = []
    for _ in range(2):
        with gr.Row():
            plots += [_map_plot() for _ in range(3)]

    @one_line
    def show(
        missing: float,
        noise: float,
        seed: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        began = time.monotonic()
        found = work.sense(
            missing, noise, int(seed), progress=lambda *steps: progress(steps, desc="sampling")
        )
        error = np.asarray(found["mean"]) - np.asarray(found["truth"])
        gain, limits = "Viridis", figures.GAIN_LIMITS
        shown = (
            ("truth", found["truth"], gain, limits),
            ("samples", found["samples"], gain, limits),
            ("reconstruction", found["mean"], gain, limits),
            ("standard deviation", found["std"], "Magma", (0.0, 15.0)),
            ("error", error, "RdBu_r", DIFFERENCE_LIMITS),
            ("linear interpolation", found["linear"], gain, limits),
        )
        text = (
            f"PSNR {found['mean_psnr']:.1f} dB, linear interpolation "
            f"{found['linear_psnr']:.1f} dB; {time.monotonic() - began:.0f} s"
        )
        return text, *[figures.panel(*drawn) for drawn in shown]

    run.click(show, [missing, noise, seed], [said, *plots], show_progress_on=plots[0])
