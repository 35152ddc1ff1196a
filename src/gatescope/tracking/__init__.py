"""Tracking of runs: identity, record on disk, checkpoints, W&B, TensorBoard, and start to end of a run."""
