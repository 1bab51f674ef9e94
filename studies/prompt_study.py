"""What prompt features say of path gain by themselves: the NMSE that their means leave outdoors.

python studies/prompt_study.py ROOT [--maps 24]
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.units import model_to_gray

BINS = 40
"""Of the logarithm of a length, over the range of the feature."""
FEATURES = ("line_of_sight", "distance", "detour")


def main() -> None:
    """Print a row for every set of features."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--maps", type=int, default=24)
    arguments = parser.parse_args()
    data = DataConfig(root=arguments.root, split="all", prompt_features=FEATURES)
    maps = build_dataset(data, "test")
    chosen = np.linspace(0, len(maps) - 1, min(arguments.maps, len(maps))).astype(int)
    gain, prompt = [], []
    for index in chosen.tolist():
        item = maps[index]
        outdoors = ~item["buildings"][0]
        gain.append(model_to_gray(item["gain"][0][outdoors]))
        prompt.append(item["prompt"][:, outdoors])
    truth = torch.cat(gain).double().numpy()
    bins = np.rint((torch.cat(prompt, dim=1).numpy() + 1.0) / 2.0 * BINS).astype(int)
    for names in (FEATURES[:2], (FEATURES[0], FEATURES[2]), FEATURES):
        rows = [FEATURES.index(name) for name in names]
        _, group = np.unique(bins[rows], axis=1, return_inverse=True)
        group = group.reshape(-1)
        mean = np.bincount(group, truth) / np.bincount(group)
        error = np.square(truth - mean[group]).sum() / np.square(truth).sum()
        print(f"{', '.join(names)}: NMSE {error:.4f}")


if __name__ == "__main__":
    main()
