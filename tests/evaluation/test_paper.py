"""The printed figures: totals added up from the papers' text, and what the papers say of them."""

import pytest

from radiodiff.errors import InputError
from radiodiff.evaluation.paper import FIGURES, TABLES, printed, printed_rows, settings_of
from radiodiff.evaluation.tables import markdown_table

METHODS = ("RadioDiff-Inverse", "RadioUNet", "RME-GAN", "kriging")
TOTALS = {
    "inverse_1": {
        "psnr": (178.01, 139.88, 136.12, 126.11),
        "ssim": (5.6206, 4.9367, 4.4986, 4.1334),
        "rmse": (0.4181, 0.6437, 0.9553, 1.0988),
        "iou": (2.6465, 0.5137, 1.3637, 0.4217),
    },
    "inverse_2": {
        "psnr": (187.86, 125.48, 136.39, 125.06),
        "ssim": (5.7895, 5.3865, 4.3284, 4.1084),
        "rmse": (0.415, 0.6456, 0.9299, 1.1244),
        "iou": (2.6463, 0.4973, 1.402, 0.3538),
    },
    "inverse_3": {
        "psnr": (184.76, 123.7, 130.34, 122.68),
        "ssim": (5.1477, 5.3582, 4.1469, 3.9563),
        "rmse": (0.4318, 0.6659, 1.0319, 1.1786),
        "iou": (2.6345, 0.3666, 1.177, 0.1975),
    },
}
HIGHER = {"ssim", "psnr"}


@pytest.mark.parametrize("table", sorted(TOTALS))
def test_the_inverse_tables_add_up_to_the_papers_totals(table: str) -> None:
    for metric, totals in TOTALS[table].items():
        for method, total in zip(METHODS, totals, strict=True):
            values = [
                figure.value
                for figure in FIGURES
                if (figure.table, figure.row, figure.column) == (table, method, metric)
            ]
            assert len(values) == (3 if metric == "iou" else 6)
            assert sum(values) == pytest.approx(total, abs=1e-9)


def test_cells_are_found_where_the_paper_has_them() -> None:
    assert printed("radiodiff_2", "UVM-Net", "rmse", "DRM") == 0.0301
    assert printed("radiodiff_3", "RadioDiff w/o AFT", "ssim", "SRM") == 0.9465
    assert printed("radiodiff_4", "RadioDiff", "memory_mb") == 6062
    assert printed("inverse_1", "RME-GAN", "psnr", "aware 0.9") == 25.63
    assert printed("inverse_2", "kriging", "ssim", "unaware 0.8") == 0.5565
    assert printed("inverse_3", "RadioUNet", "iou", "unaware 0.7") == 0.1104
    assert printed("reproduction", "RadioDiff", "nmse") == 0.0101
    assert printed("newer", "RMDM", "nmse", "DRM") == 0.0047
    assert printed("inverse_1", "RadioUNet", "iou", "aware 0.7") is None


def test_the_tables_of_radiodiff_agree_with_what_the_paper_says() -> None:
    totals = {"nmse": 0.0675, "rmse": 0.2122, "ssim": 7.5417, "psnr": 255.51}
    for metric, total in totals.items():
        values = [f.value for f in FIGURES if (f.table, f.column) == ("radiodiff_2", metric)]
        assert sum(values) == pytest.approx(total, abs=1e-9)
    for setting in ("SRM", "DRM"):  # RadioDiff is the best in every metric
        rows = printed_rows("radiodiff_2", setting)
        for metric in ("nmse", "rmse", "ssim", "psnr"):
            best = (max if metric in HIGHER else min)(rows, key=lambda row: rows[row][metric])
            assert best == "RadioDiff"
    assert (
        printed_rows("radiodiff_3", "SRM")["RadioDiff"]
        == printed_rows("radiodiff_2", "SRM")["RadioDiff"]
    )


def test_no_cell_is_given_twice_and_every_table_says_where_it_is_from() -> None:
    cells = [(f.table, f.setting, f.row, f.column) for f in FIGURES]
    assert len(cells) == len(set(cells))
    assert {figure.table for figure in FIGURES} == set(TABLES)
    assert all(table.source and table.note for table in TABLES.values())
    # Every inverse table covers both settings at three ratios.
    for table in TOTALS:
        assert settings_of(table) == [
            f"{buildings} {missing}"
            for buildings in ("aware", "unaware")
            for missing in (0.7, 0.8, 0.9)
        ]


def test_a_setting_prints_as_a_table() -> None:
    table = markdown_table(printed_rows("radiodiff_2", "DRM"))
    assert "| RadioDiff | **0.0057** | **0.0215** | **0.9536** | **34.92** |" in table


def test_wrong_names_are_refused() -> None:
    with pytest.raises(InputError, match="no printed table 'inverse_9', allowed: radiodiff_2"):
        printed("inverse_9", "RadioUNet", "psnr")
    with pytest.raises(InputError, match="no setting 'SMR', allowed: SRM, DRM"):
        printed_rows("radiodiff_2", "SMR")
