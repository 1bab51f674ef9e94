import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.training import experiments
from radiodiff.training.experiments import open_datasets, train_stage
from radiodiff.training.tasks import PriorTask


def read_after_deletion(tree: Path, maps: Any) -> Mapping[str, Any]:
    shutil.rmtree(tree / "gain")
    return maps[0]


@pytest.mark.parametrize(("workers", "cache"), [(1, True), (0, True), (1, False)])
def test_images_are_decoded_before_workers_start(
    small_stages: ModuleType,
    small_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    cache: bool,
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(small_root, tree)
    config = small_stages.experiment(
        "prior",
        tree,
        tmp_path / "run",
        train=small_stages.TRAIN | {"steps": 1} | {"num_workers": workers},
    )
    config = config.model_copy(update={"data": config.data.model_copy(update={"cache": cache})})
    reached = []

    def train(task: Any, maps: Any, *rest: Any) -> None:
        reached.append(True)
        assert read_after_deletion(tree, maps)["name"] == "1_0"

    monkeypatch.setattr(experiments, "train", train)
    if workers and cache:
        train_stage(config, PriorTask, resume=False)
    else:
        with pytest.raises(InputError, match=r"1_0\.png"):
            train_stage(config, PriorTask, resume=False)
    assert reached


def test_initial_weights_follow_from_the_seed_alone(
    small_stages: ModuleType, small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []

    def train(task: PriorTask, *rest: Any) -> None:
        weights.append(torch.cat([p.detach().flatten() for p in task.averaged.parameters()]))

    monkeypatch.setattr(experiments, "train", train)
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        before = torch.random.get_rng_state()
        train_values = small_stages.TRAIN | {"steps": 1, "seed": seed}
        config = small_stages.experiment(
            "prior", small_root, tmp_path / str(number), train=train_values
        )
        train_stage(config, PriorTask, resume=False)
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("cut", [True, False])
def test_a_saturated_tree_is_said_once(
    small_stages: ModuleType,
    small_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cut: bool,
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(small_root, tree)
    for path in (tree / "gain" / "DPM").glob("*.png"):
        levels = np.asarray(Image.open(path))
        Image.fromarray(np.uint8(255) * (levels > 0) if cut else levels).save(path)
    open_datasets(
        small_stages.experiment(
            "prior", tree, tmp_path / "run", train=small_stages.TRAIN | {"steps": 1}
        )
    )
    said = capsys.readouterr().err
    assert said.count("are saturated; divide levels of 16 bits by 257") == int(cut)


@pytest.mark.parametrize("stage", ["vae", "ldm", "prior"])
def test_every_stage_trains_on_windows_of_larger_maps(
    small_stages: ModuleType,
    small_root: Path,
    tmp_path: Path,
    write_radio_maps: Callable[..., Path],
    stage: str,
) -> None:
    tree = write_radio_maps(tmp_path / "tree", maps=(1, 2, 3), transmitters=2, shape=(20, 28))
    shutil.copytree(small_root / "vae", tree / "vae")
    whole = small_stages.experiment(
        stage, tree, tmp_path / "run", train=small_stages.TRAIN | {"steps": 1}
    )
    with pytest.raises(InputError, match=r"set train\.window"):
        open_datasets(whole)
    train = {"steps": 2, "validate_every": 2, "window": 16, "augment": True}
    small_stages.train_stage(stage, tree, tmp_path / "run", **train)
    scores = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '/score"' in scores
    assert "NaN" not in scores
    if stage == "ldm":
        denoiser = RadioDiffPipeline.from_pretrained(tmp_path / "run" / "model").denoiser
        assert list(denoiser.config.filter_size) == [4, 4]  # 16 pixels, halved twice
    with pytest.raises(InputError, match=r"train\.window: found 24, the maps have 20 x 28"):
        open_datasets(
            small_stages.experiment(
                stage, tree, tmp_path / "large", train=small_stages.TRAIN | train | {"window": 24}
            )
        )


def test_windows_need_latents_that_are_not_stored(small_stages: ModuleType, tmp_path: Path) -> None:
    train = small_stages.TRAIN | {"steps": 1, "window": 16}
    with pytest.raises(ValueError, match=r"train\.window needs latents null"):
        small_stages.experiment("ldm", tmp_path, tmp_path, train=train, latents=tmp_path)
