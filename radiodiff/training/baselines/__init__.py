"""Training of the learned baselines, with or without measurements."""
