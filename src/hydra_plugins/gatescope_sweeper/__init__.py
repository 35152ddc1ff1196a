"""The sweeper of `python train.py`, found by Hydra through the namespace package `hydra_plugins`."""
