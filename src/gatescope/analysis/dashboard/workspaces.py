"""The modules of wandb-workspaces, imported without their deprecation warnings."""

import warnings

with warnings.catch_warnings():  # version 0.4.13 declares its models as in pydantic 1
    warnings.simplefilter("ignore", DeprecationWarning)
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.expr import And

__all__ = ["And", "wr", "ws"]
