"""Settings of a survey: how its table is read, which rows count, and which grid it is put on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from radiodiff.config import Settings

Rule = Literal["sentinels", "zero_positions", "far_positions"]
"""Rules that leave rows out and can be switched off by name."""
Scalar = str | int | float


def _as_text(value: object) -> object:
    """Return the position of a column, which YAML reads as a number, as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_code(value: object) -> object:
    """Return an EPSG code that is written as a number with its authority."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"EPSG:{value}" if is_number else value


ColumnName = Annotated[str, BeforeValidator(_as_text)]


class ColumnSettings(Settings):
    """Which column holds what. A file without header has columns 1, 2, 3, and so on."""

    x: ColumnName | None = None
    """Easting in metres, or longitude in degrees; null finds it by common names."""
    y: ColumnName | None = None
    """Northing in metres (or rows downwards, see y_axis), or latitude; null finds it."""
    value: ColumnName | None = None
    """Path gain or received power; null finds it by common names."""
    noise_std_db: ColumnName | None = None
    """Standard deviation of each sample in dB; null uses one for all."""


class SurveySettings(Settings):
    """How the file is read and which grid it is put on."""

    columns: ColumnSettings = ColumnSettings()
    delimiter: str | None = None
    """Between the fields of a row; null finds it."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark; null finds it, column by column."""
    encoding: str | None = None
    """Of a text file, such as utf-8, utf-16 or cp1252; null finds it."""
    coordinates: Literal["metres", "degrees"] | None = None
    """Units of x and y; degrees are longitude and latitude. Null finds them."""
    crs: Annotated[str, BeforeValidator(_as_code)] | None = None
    """Coordinate system of the outputs, such as EPSG:32632, and of x and y unless these are
    degrees; null is WGS84 for degrees and a local system for metres."""
    y_axis: Literal["north", "south"] = "north"
    """Direction in which y grows; "south" is an image's."""
    value: Literal["path_gain_db", "received_dbm"] = "path_gain_db"
    """What the value column holds."""
    transmit_power_dbm: float | None = None
    """With received_dbm, if known: path gain is received minus transmitted power."""
    noise_std_db: float | None = Field(default=None, gt=0)
    """Standard deviation of a sample in dB; null estimates it from the samples."""
    where: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict)
    """Column -> value or values; other rows are not read. {pci: 17} is one transmitter's rows."""
    group_by: str | None = None
    """A column that names the transmitter; one map is made for each of its values."""
    sentinels: tuple[float, ...] | None = None
    """Values that mean "nothing received"; null takes the common ones."""
    keep: tuple[Rule, ...] = ()
    """Rules that are not applied, so that the rows they would leave out are kept."""
    duplicates: Literal["average", "refuse"] = "average"
    """What to do with samples at one and the same position that differ."""
    resolution_m: float | None = Field(default=None, gt=0)
    """Metres per pixel; null follows the spacing of the samples."""
    margin_m: float | None = Field(default=None, ge=0)
    """Added on each side of the samples; null adds one around a track along an axis."""
    origin: tuple[float, float] | None = None
    """x and y of the centre of the first row's first pixel; null puts the samples' corner there."""
    shape: tuple[int, int] | None = None
    """Rows and columns; null covers the samples."""
    held_out: float | None = Field(default=None, gt=0, lt=1)
    """Share of the samples that is kept back and predicted."""
    held_out_blocks_m: float | None = Field(default=None, gt=0)
    """Side of the squares that are kept back whole; null keeps back samples at random."""

    @model_validator(mode="after")
    def _check(self) -> SurveySettings:
        if self.value != "received_dbm" and self.transmit_power_dbm is not None:
            raise ValueError("transmit_power_dbm goes with value received_dbm only")
        if self.held_out_blocks_m is not None and self.held_out is None:
            raise ValueError("held_out_blocks_m needs held_out, the share to keep back")
        if self.delimiter == "":
            raise ValueError("delimiter is empty; give a character, or null to find it")
        return self
