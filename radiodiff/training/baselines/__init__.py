"""Training of the learned baselines, with or without measurements."""

from radiodiff.training.baselines.experiment import BaselineExperiment, train_baseline

__all__ = ["BaselineExperiment", "train_baseline"]
