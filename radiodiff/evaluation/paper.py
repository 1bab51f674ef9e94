"""The figures printed in the papers' tables, and later ones on the same data, to stand beside ours.

Methods carry one name in all tables; metric names are those of :mod:`radiodiff.evaluation.tables`,
with ``memory_mb`` in addition. :data:`TABLES` says of every table where it is printed and under
which conventions, in so far as that is known: figures of different tables are rarely comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from radiodiff.errors import InputError
from radiodiff.evaluation.settings import RmseUnit


@dataclass(frozen=True)
class PrintedFigure:
    """One cell of a table.

    Attributes:
        table: key of :data:`TABLES`.
        setting: the scenario, such as "SRM", or "aware 0.7": buildings known, 70 % missing; empty
            where the table has but one.
        row: the method.
        column: the metric.
        value: as printed.
    """

    table: str
    setting: str
    row: str
    column: str
    value: float


@dataclass(frozen=True)
class PrintedTable:
    """Where figures are printed, and what they mean.

    Attributes:
        source: publication and table.
        note: conventions, and what is uncertain.
        rmse_unit: unit of the RMSE; None where there is no RMSE or the unit is not known.
    """

    source: str
    note: str
    rmse_unit: RmseUnit | None = None


RADIODIFF = "X. Wang et al., RadioDiff, IEEE TCCN 11(2), 2025"
INVERSE = "X. Wang et al., RadioDiff-Inverse, 2025"
_MASKED = (
    "random pixels observed with noise of standard deviation {} in model range; means over maps"
)

TABLES: dict[str, PrintedTable] = {
    "radiodiff_2": PrintedTable(
        f"{RADIODIFF}, Table II",
        "RadioMapSeer, SRM without and DRM with vehicles; RME-GAN without samples",
        "gray",
    ),
    "radiodiff_3": PrintedTable(
        f"{RADIODIFF}, Table III",
        "the row with AFT repeats the SRM column of Table II; PSNR is the one that our copy of the "
        "paper shows legibly, NMSE, RMSE and SSIM are taken from Table II",
        "gray",
    ),
    "radiodiff_4": PrintedTable(
        f"{RADIODIFF}, Table IV", "one map; the device is not named beside the table (A100 in V-C)"
    ),
    "inverse_1": PrintedTable(f"{INVERSE}, Table I", _MASKED.format(0.01), "model"),
    "inverse_2": PrintedTable(f"{INVERSE}, Table II", _MASKED.format(0.05), "model"),
    "inverse_3": PrintedTable(f"{INVERSE}, Table III", _MASKED.format(0.09), "model"),
    "inverse_text": PrintedTable(
        f"{INVERSE}, Sec. V-C and V-E",
        "what the text says of the settings of Table I; it differs from the table",
    ),
    "reproduction": PrintedTable(
        "an independent run of RadioDiff's released weights, 5 sampling steps",
        "five images of one map, so weak evidence; 20 or 50 steps were no better",
    ),
    "newer": PrintedTable(
        "RadioFlow, arXiv:2510.09314 and its README; RMDM, arXiv:2501.19160; RadioDiff-FS, "
        "arXiv:2603.18865",
        "all on gray above the noise floor (threshold: thr2), each on its own split; RadioFlow's "
        "code takes NMSE and PSNR of whole batches; RMDM's DRM row also sees samples; "
        "RadioDiff-FS is tuned on few maps with reflections and scored on such; RadioFlow gives "
        "0.06 to 0.13 s over its two sizes and both scenarios, the bounds stand as seconds_min "
        "and _max",
        "gray",
    ),
}
"""Key -> table."""

# Each block: a heading of columns, then lines of setting | row | values, "-" for an empty cell.
_RADIODIFF_2 = """
                        nmse    rmse    ssim    psnr
    SRM | RME-GAN   |   0.0115  0.0303  0.9323  30.54
    SRM | RadioUNet |   0.0074  0.0244  0.9592  32.01
    SRM | UVM-Net   |   0.0085  0.0304  0.9320  30.34
    SRM | RadioDiff |   0.0049  0.0190  0.9691  35.13
    DRM | RME-GAN   |   0.0118  0.0307  0.9219  30.40
    DRM | RadioUNet |   0.0089  0.0258  0.9410  31.75
    DRM | UVM-Net   |   0.0088  0.0301  0.9326  30.42
    DRM | RadioDiff |   0.0057  0.0215  0.9536  34.92
"""
_RADIODIFF_3 = """
                                nmse    rmse    psnr   ssim
    SRM | RadioDiff w/o AFT |   0.0067  0.0259  31.62  0.9465
    SRM | RadioDiff         |   0.0049  0.0190  35.13  0.9691
"""
_RADIODIFF_4 = """
                    seconds  memory_mb
    | RME-GAN   |   0.042    2923
    | UVM-Net   |   0.095    8738
    | RadioUNet |   0.056    3927
    | RadioDiff |   0.6      6062
"""
_REPRODUCTION = """
                    nmse    rmse    ssim   psnr
    | RadioDiff |   0.0101  0.0394  0.942  28.1
"""
_NEWER = """
                           nmse    rmse    ssim    psnr   seconds_min  seconds_max
    SRM | RadioFlow    |   0.0023  0.0103  0.9249  39.83  0.06         0.13
    DRM | RadioFlow    |   0.0028  0.0108  0.9236  39.37  0.06         0.13
    SRM | RMDM         |   0.0031  0.0125  -       -      -            -
    DRM | RMDM         |   0.0047  0.0146  -       -      -            -
    SRM | RadioDiff-FS |   -       -       0.9752  36.37  -            -
"""
_INVERSE_TEXT = """
                                      psnr   ssim    seconds
    aware 0.7   | RadioDiff-Inverse | 34.55  0.9847  100
    aware 0.8   | RadioDiff-Inverse | 32.57  0.9765  100
    aware 0.9   | RadioDiff-Inverse | 27.83  0.9420  100
    unaware 0.7 | RadioDiff-Inverse | 33.91  0.9836  100
    unaware 0.8 | RadioDiff-Inverse | 31.93  0.9754  100
"""

# The inverse tables are printed the other way round: methods side by side, metrics in blocks.
_INVERSE_METHODS = ("RadioDiff-Inverse", "RadioUNet", "RME-GAN", "kriging")
"""Printed as Ours, RadioUNet, RME-GAN, Interp. (ordinary kriging, Sec. V-D)."""
_INVERSE_1 = """
    psnr  aware 0.7    32.34   26.68   23.37   22.47
    psnr  aware 0.8    30.29   25.43   25.51   22.25
    psnr  aware 0.9    26.33   24.16   25.63   22.47
    psnr  unaware 0.7  32.37   22.28   21.76   19.76
    psnr  unaware 0.8  30.10   21.28   20.03   19.49
    psnr  unaware 0.9  26.58   20.05   19.82   19.67
    ssim  aware 0.7    0.9680  0.9195  0.7485  0.7906
    ssim  aware 0.8    0.9495  0.8988  0.7885  0.7767
    ssim  aware 0.9    0.8913  0.8687  0.7580  0.8127
    ssim  unaware 0.7  0.9682  0.7684  0.7257  0.6068
    ssim  unaware 0.8  0.9495  0.7538  0.7157  0.5453
    ssim  unaware 0.9  0.8941  0.7275  0.7622  0.6013
    rmse  aware 0.7    0.0493  0.0872  0.1425  0.1539
    rmse  aware 0.8    0.0624  0.0872  0.1264  0.1578
    rmse  aware 0.9    0.0979  0.1009  0.1091  0.1539
    rmse  unaware 0.7  0.0492  0.1245  0.1654  0.2081
    rmse  unaware 0.8  0.0637  0.1218  0.2039  0.2147
    rmse  unaware 0.9  0.0956  0.1221  0.2080  0.2104
    iou   unaware 0.7  0.9052  0.1823  0.5486  0.1268
    iou   unaware 0.8  0.8944  0.1756  0.2656  0.1413
    iou   unaware 0.9  0.8469  0.1558  0.5495  0.1536
"""
_INVERSE_2 = """
    psnr  aware 0.7    35.29   22.19   23.20   22.26
    psnr  aware 0.8    32.16   22.22   25.34   22.35
    psnr  aware 0.9    27.44   22.04   26.17   22.19
    psnr  unaware 0.7  34.65   19.54   22.02   19.47
    psnr  unaware 0.8  31.52   19.76   20.67   19.22
    psnr  unaware 0.9  26.80   19.73   18.99   19.57
    ssim  aware 0.7    0.9840  0.9187  0.7743  0.7950
    ssim  aware 0.8    0.9748  0.9183  0.7889  0.7967
    ssim  aware 0.9    0.9376  0.9167  0.7628  0.7923
    ssim  unaware 0.7  0.9829  0.8635  0.7219  0.5784
    ssim  unaware 0.8  0.9737  0.8808  0.7189  0.5565
    ssim  unaware 0.9  0.9365  0.8885  0.5616  0.5895
    rmse  aware 0.7    0.0499  0.0872  0.1402  0.1581
    rmse  aware 0.8    0.0630  0.0869  0.1118  0.1565
    rmse  aware 0.9    0.0952  0.1017  0.1009  0.1600
    rmse  unaware 0.7  0.0494  0.1246  0.1601  0.2155
    rmse  unaware 0.8  0.0630  0.1226  0.1884  0.2217
    rmse  unaware 0.9  0.0945  0.1226  0.2285  0.2126
    iou   unaware 0.7  0.9041  0.1972  0.6388  0.1192
    iou   unaware 0.8  0.8950  0.1597  0.4517  0.1196
    iou   unaware 0.9  0.8472  0.1404  0.3115  0.1150
"""
_INVERSE_3 = """
    psnr  aware 0.7    33.35   21.99   22.04   21.83
    psnr  aware 0.8    31.82   21.84   23.41   22.07
    psnr  aware 0.9    28.17   21.82   25.57   22.04
    psnr  unaware 0.7  32.71   19.20   20.68   18.87
    psnr  unaware 0.8  31.18   19.40   19.37   18.93
    psnr  unaware 0.9  27.53   19.45   19.27   18.94
    ssim  aware 0.7    0.8483  0.9159  0.7625  0.7703
    ssim  aware 0.8    0.8771  0.9145  0.7701  0.7754
    ssim  aware 0.9    0.8501  0.9144  0.7464  0.7723
    ssim  unaware 0.7  0.8472  0.8551  0.6982  0.5425
    ssim  unaware 0.8  0.8760  0.8740  0.6937  0.5453
    ssim  unaware 0.9  0.8490  0.8843  0.4760  0.5505
    rmse  aware 0.7    0.0534  0.0892  0.1601  0.1661
    rmse  aware 0.8    0.0649  0.0898  0.1368  0.1614
    rmse  aware 0.9    0.0956  0.1030  0.1064  0.1620
    rmse  unaware 0.7  0.0548  0.1300  0.1878  0.2310
    rmse  unaware 0.8  0.0664  0.1274  0.2185  0.2291
    rmse  unaware 0.9  0.0967  0.1265  0.2223  0.2290
    iou   unaware 0.7  0.9011  0.1104  0.5980  0.0573
    iou   unaware 0.8  0.8933  0.1328  0.1705  0.0688
    iou   unaware 0.9  0.8401  0.1234  0.4085  0.0714
"""


def _by_method(table: str, block: str) -> Iterator[PrintedFigure]:
    heading, *lines = block.strip().splitlines()
    columns = heading.split()
    for line in lines:
        setting, row, values = (part.strip() for part in line.split("|"))
        for column, value in zip(columns, values.split(), strict=True):
            if value != "-":
                yield PrintedFigure(table, setting, row, column, float(value))


def _by_metric(table: str, block: str) -> Iterator[PrintedFigure]:
    for line in block.strip().splitlines():
        column, buildings, missing, *values = line.split()
        for row, value in zip(_INVERSE_METHODS, values, strict=True):
            yield PrintedFigure(table, f"{buildings} {missing}", row, column, float(value))


FIGURES: tuple[PrintedFigure, ...] = (
    *_by_method("radiodiff_2", _RADIODIFF_2),
    *_by_method("radiodiff_3", _RADIODIFF_3),
    *_by_method("radiodiff_4", _RADIODIFF_4),
    *_by_metric("inverse_1", _INVERSE_1),
    *_by_metric("inverse_2", _INVERSE_2),
    *_by_metric("inverse_3", _INVERSE_3),
    *_by_method("inverse_text", _INVERSE_TEXT),
    *_by_method("reproduction", _REPRODUCTION),
    *_by_method("newer", _NEWER),
)
"""Every figure, table by table."""

_VALUES = {(f.table, f.setting, f.row, f.column): f.value for f in FIGURES}


def printed(table: str, row: str, column: str, setting: str = "") -> float | None:
    """Return a printed figure, or None where the table has no such cell.

    Args:
        table: key of :data:`TABLES`.
        row: the method.
        column: the metric.
        setting: see :class:`PrintedFigure`.

    Raises:
        InputError: there is no such table.
    """
    _check(table)
    return _VALUES.get((table, setting, row, column))


def printed_rows(table: str, setting: str = "") -> dict[str, dict[str, float]]:
    """Return one setting of a table as method -> metric -> figure, in the order of print.

    The result goes straight into :func:`radiodiff.evaluation.tables.markdown_table`.

    Raises:
        InputError: there is no such table, or no such setting in it.
    """
    _check(table)
    rows: dict[str, dict[str, float]] = {}
    for figure in FIGURES:
        if (figure.table, figure.setting) == (table, setting):
            rows.setdefault(figure.row, {})[figure.column] = figure.value
    if not rows:
        raise InputError(
            f"table {table}: no setting {setting!r}, allowed: {', '.join(settings_of(table))}"
        )
    return rows


def settings_of(table: str) -> Sequence[str]:
    """Return the settings of a table in the order of print.

    Raises:
        InputError: there is no such table.
    """
    _check(table)
    return list(dict.fromkeys(figure.setting for figure in FIGURES if figure.table == table))


def _check(table: str) -> None:
    if table not in TABLES:
        raise InputError(f"no printed table {table!r}, allowed: {', '.join(TABLES)}")
