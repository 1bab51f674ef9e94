"""Configurations that nobody would write on purpose: one line each, in bounded time."""

import os
import sys
from pathlib import Path

import pytest
from pydantic import Field

from radiodiff import cli
from radiodiff.config import Settings, load_config
from radiodiff.errors import InputError
from radiodiff.experiments.settings import GenerateConfig, InverseConfig
from radiodiff.simulate.settings import SimulateConfig


class Numbers(Settings):
    seed: int = Field(0, ge=0)
    steps: int = Field(1, ge=1)
    rate: float = 1.0
    ratio: float | None = None
    on: bool = False


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: dict[str, bytes] = {
    "utf-16": "seed: 1".encode("utf-16"),
    "latin-1": "name: größer".encode("latin-1"),
    "control character": b"seed: \x00",
    "bell": b"seed: \x07",
    "deep list": b"seed: " + b"[" * 5000,
    "deep mapping": b"{a: " * 5000,
    "billion laughs": LAUGHS.encode(),
    "alias of itself": b"seed: &a [*a]",
    "list as key": b"? [1, 2]\n: 3",
    "mapping as key": b"{{a: 1}: 2}",
    "month 13": b"seed: 2020-13-41",
    "hexadecimal without digits": b"seed: 0x_",
    "binary without digits": b"seed: 0b_",
    "not base 64": b"seed: !!binary a",
    "set of lists": b"seed: !!set [1]",
    "python object": b"seed: !!python/object/apply:os.system [ls]",
    "unknown anchor": b"seed: *nobody",
    "merge of a number": b"<<: 3",
    "tab": b"seed:\n\t- 1",
    "two documents": b"seed: 1\n---\nseed: 2",
    "a single value": b"42",
    "many keys": b"".join(b"key%d: 1\n" % i for i in range(300_000)),
    "many unknown keys": b"".join(b"key%d: 1\n" % i for i in range(2000)),
    "long value": b"seed: " + b"x" * 100_000,
    "long number": b"seed: " + b"9" * 400,
    "longer number": b"seed: " + b"9" * 5000,
    "true as seed": b"seed: true",
    "seed of 65 bits": b"seed: 36893488147419103232",
    "negative seed": b"seed: -1",
    "fraction": b"steps: 1.5",
    "zero": b"steps: 0",
    "true as count": b"steps: true",
    "false as number": b"rate: false",
    "a billion": b"steps: 1000000000",
    "nan": b"rate: .nan",
    "infinity": b"ratio: .inf",
    "text": b"steps: many",
    "date as number": b"rate: 2020-01-01",
    "number as switch": b"on: 7",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_broken_text_is_one_short_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(TEXTS[kind])
    with pytest.raises(InputError) as error:
        load_config(path, Numbers)
    message = str(error.value)
    assert "c.yaml" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 2500


@pytest.mark.parametrize("kind", ["nul", "surrogate", "long", "below a file", "fifo", "folder"])
def test_a_path_that_is_none_is_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    paths = {
        "nul": "a\0b",
        "surrogate": "\udcff",
        "long": "x" * 300,
        "below a file": "file/c.yaml",
        "fifo": "pipe",
        "folder": ".",
    }
    if kind == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(tmp_path / "pipe")
    path = tmp_path / paths[kind]
    with pytest.raises(InputError, match="no such configuration file"):
        load_config(path, Numbers)
    if kind not in ("surrogate", "folder"):
        with pytest.raises(InputError):
            cli.open_run_directory(path / "run", Numbers())


@pytest.mark.parametrize("override", ["steps=[", "=1", "steps", "on.off.on=1", "steps=\x00"])
def test_a_broken_override_is_one_line(tmp_path: Path, override: str) -> None:
    (tmp_path / "c.yaml").write_text("seed: 1")
    with pytest.raises(InputError, match="override"):
        load_config(tmp_path / "c.yaml", Numbers, [override])


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("model", "config", "override"),
    [
        (SimulateConfig, "smoke/simulate.yaml", "simulations=[DPM,DPM]"),
        (SimulateConfig, "smoke/simulate.yaml", "seed=true"),
        (SimulateConfig, "smoke/simulate.yaml", "workers=1000000"),
        (InverseConfig, "small/infer_inverse.yaml", "shadow_threshold=.nan"),
        (InverseConfig, "small/infer_inverse.yaml", "num_particles=1000000000"),
        (InverseConfig, "small/infer_inverse.yaml", "num_particles=true"),
        (InverseConfig, "small/infer_inverse.yaml", "num_inference_steps=0"),
        (GenerateConfig, "small/infer_ldm.yaml", "num_inference_steps=1000000000"),
        (GenerateConfig, "small/infer_ldm.yaml", "seed=36893488147419103232"),
    ],
)
def test_values_out_of_reason_are_refused(
    model: type[Settings], config: str, override: str
) -> None:
    load_config(ROOT / "configs" / config, model)
    with pytest.raises(InputError, match=override.split("=")[0]):
        load_config(ROOT / "configs" / config, model, [override])


def test_an_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise InputError("first\nsecond " + "x" * 5000)

    with pytest.raises(SystemExit) as end:
        cli.run_main(fail)
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: first second")
    assert len(printed) < 2100


def test_a_fault_of_the_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run_main(lambda: (tmp_path / "none" / "x").write_text(""))  # type: ignore[arg-type,return-value]
    assert end.value.code == 2
    assert "No such file" in capsys.readouterr().err


def test_an_unknown_command_line_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x.py", "--config", "a\0b"])
    with pytest.raises(SystemExit) as end:
        cli.run_main(lambda: cli.parse_config(Numbers, "test"))  # type: ignore[arg-type,return-value]
    assert end.value.code == 2
