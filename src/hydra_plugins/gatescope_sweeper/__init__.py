"""Gatescope's sweeper, which Hydra finds in the namespace package `hydra_plugins`."""
