"""Maps generated on one process and on two; as a script, one of the two."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments import generation
from radiodiff.experiments.generation import generate_maps
from radiodiff.experiments.settings import GenerateConfig
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae

FEATURES = ["buildings", "transmitter", "vehicles"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Path:
    """A tree of seven maps and untrained networks."""
    folder = tmp_path_factory.mktemp("generation")
    write_radio_maps(folder / "tree", maps=tuple(range(1, 8)), transmitters=1, shape=(16, 16))
    torch.manual_seed(0)
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 1),
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(4, 4),
    )
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4, mid_attention=False)
    RadioDiffPipeline(
        vae=vae, denoiser=denoiser, scheduler=DecoupledScheduler(), prompt_features=FEATURES
    ).save_pretrained(folder / "model")
    return folder


def configured(work: Path, output: Path, **changes: object) -> GenerateConfig:
    values = {
        "output": output,
        "model": work / "model",
        "data": {"root": work / "tree", "split": "all", "prompt_features": FEATURES},
        "num_inference_steps": 1,
        "zero_buildings": False,
        "batch_size": 2,
        "dtype": "float32",
    }
    return GenerateConfig.model_validate(values | changes)


def generate_on_two(run_on_two: Callable[..., None], work: Path, output: Path) -> list[set[str]]:
    """Return the names each process wrote."""
    run_on_two(__file__, work, output)
    files = [output.with_name(f"{output.name}-{number}") for number in range(2)]
    names = [set(file.read_text().split()) for file in files]
    assert [len(file.read_text().split()) for file in files] == [len(own) for own in names]
    return names


def levels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in folder.glob("*.png")}


def test_the_model_says_which_prompt_it_takes_unless_another_is_asked_for(
    work: Path, tmp_path: Path
) -> None:
    tree = {"root": work / "tree", "split": "all"}
    given, found = (
        levels(generate_maps(configured(work, tmp_path / name, data=data)))
        for name, data in (("given", tree | {"prompt_features": FEATURES}), ("found", tree))
    )
    assert given.keys() == found.keys()
    assert all(np.array_equal(given[name], found[name]) for name in given)
    wrong = tree | {"prompt_features": FEATURES[:2]}
    with pytest.raises(InputError, match="was trained with buildings, transmitter, vehicles"):
        generate_maps(configured(work, tmp_path / "wrong", data=wrong))


def test_a_network_that_overflows_is_refused_and_no_map_is_written(
    work: Path, tmp_path: Path
) -> None:
    pipeline = RadioDiffPipeline.from_pretrained(work / "model")
    torch.nn.init.constant_(pipeline.vae.decoder.conv_out.weight, 3e38)
    pipeline.save_pretrained(tmp_path / "broken")
    with pytest.raises(InputError, match="NaN or infinity"):
        generate_maps(configured(work, tmp_path / "out", model=tmp_path / "broken"))
    assert not list((tmp_path / "out" / "maps").iterdir())


def test_two_processes_write_every_map_once(
    work: Path, tmp_path: Path, run_on_two: Callable[..., None]
) -> None:
    alone = levels(generate_maps(configured(work, tmp_path / "alone")))
    assert len(alone) == 7
    with Image.open(tmp_path / "alone" / "gallery.png") as gallery:
        assert gallery.width > 500
    first, second = generate_on_two(run_on_two, work, tmp_path / "common_noise")
    assert not first & second
    assert {len(first), len(second)} == {3, 4}
    shared = tmp_path / "common_noise" / "maps"
    assert first | second == alone.keys() == {path.name for path in shared.iterdir()}
    for name, image in levels(shared).items():
        # Another batch rounds otherwise: by one gray level at most.
        assert np.abs(image.astype(int) - alone[name]).max() <= 1, name

    for name in sorted(alone)[:3]:
        (shared / name).unlink()
    again = generate_on_two(run_on_two, work, tmp_path / "common_noise")
    assert again[0] | again[1] == set(sorted(alone)[:3])
    assert {len(again[0]), len(again[1])} == {1, 2}


def test_maps_of_another_configuration_are_not_mixed_in(work: Path, tmp_path: Path) -> None:
    generate_maps(configured(work, tmp_path, max_maps=1))
    with pytest.raises(InputError, match="another configuration"):
        generate_maps(configured(work, tmp_path, max_maps=1, seed=1))


def test_a_map_that_other_weights_or_scenes_made_is_made_anew(work: Path, tmp_path: Path) -> None:
    """More maps or another batch size go on; new weights or buildings do not keep old maps."""
    copy = tmp_path / "work"
    shutil.copytree(work, copy)
    output = tmp_path / "out"

    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (output / "maps").iterdir()}

    generate_maps(configured(copy, output, max_maps=3))
    before = times()
    generate_maps(configured(copy, output, max_maps=5, batch_size=3))
    after = times()
    assert len(after) == 5
    assert before.items() <= after.items()
    # The buildings of one city are replaced in place.
    layout = copy / "tree" / "png" / "buildings_complete" / "2.png"
    levels = np.asarray(Image.open(layout)).copy()
    levels[tuple(np.argwhere(levels == 255)[0])] = 0
    Image.fromarray(levels).save(layout)
    generate_maps(configured(copy, output, max_maps=5))
    redrawn = times()
    assert {name for name in after if redrawn[name] != after[name]} == {"2_0.png"}
    torch.manual_seed(1)
    weights = RadioDiffPipeline.from_pretrained(copy / "model")
    torch.nn.init.normal_(next(iter(weights.denoiser.parameters())))
    weights.save_pretrained(copy / "model")
    generate_maps(configured(copy, output, max_maps=5))
    assert all(times()[name] != redrawn[name] for name in redrawn)


def test_maps_of_another_precision_are_made_anew(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(work, tmp_path, max_maps=1, dtype="auto")
    digests = []
    for native in (True, True, False):
        found = {"avx512_bf16": native}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        generate_maps(config)
        digests.append(generation._made_by(tmp_path / "maps" / "1_0.png"))
    assert digests[0] == digests[1] != digests[2]


def main(work: Path, output: Path) -> None:
    written: list[str] = []
    write = generation._write_png

    def note(path: Path, image: Image.Image, digest: str) -> None:
        written.append(path.name)
        write(path, image, digest)

    generation._write_png = note
    generate_maps(configured(work, output))
    output.with_name(f"{output.name}-{os.environ['RANK']}").write_text("\n".join(written))


if __name__ == "__main__":
    main(*globals()["ARGUMENTS"])
