"""Benchmarks save what a task costs as a multiple of a matrix product on the same core."""

import platform

import pytest

REFERENCE = "test_matrix_product"


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config, benchmarks, output_json):
    """Reduce the saved file to the fastest run of each task over that of the reference."""
    fastest = {entry["name"]: entry["stats"]["min"] for entry in output_json["benchmarks"]}
    reference = fastest[REFERENCE]
    info = output_json["machine_info"]
    output_json.clear()
    output_json["machine"] = {
        "processor": info.get("cpu", {}).get("brand_raw", platform.machine()),
        "python": info["python_version"],
        "seconds_of_reference": round(reference, 5),
    }
    output_json["ratios"] = {
        name.removeprefix("test_"): round(seconds / reference, 2)
        for name, seconds in fastest.items()
    }
