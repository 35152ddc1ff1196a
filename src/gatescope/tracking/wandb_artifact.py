"""A trained model as an artifact on W&B."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from gatescope.tracking.wandb import INIT_SECONDS, require_credentials

JOB_TYPE, KIND, ALIAS = "upload", "model", "best"


def upload_model(
    folder: Path, run: Mapping[str, Any], config: Mapping[str, Any], project: str, study: Path
) -> str:
    """Log the folder of a model as an artifact.

    The artifact belongs to the W&B run that trained the model, where W&B has that run; else to a run of its
    own, since an offline run that is sent later would overwrite it.

    Args:
        folder: What `gatescope export` writes: the best weights and all that they need.
        run: Content of run.json.
        config: Config of the run.
        project: "project" or "entity/project"; "" for that of the run.
        study: Folder of the study, in which W&B keeps its files.

    Returns:
        "entity/project/name:alias"; "" if the artifact was kept on disk, as with WANDB_MODE=offline.

    Raises:
        CredentialsError: There is no API key.
    """
    entity, _, name = project.rpartition("/")
    tracking = config.get("tracking") or {}
    run_id, settings = (
        str(run["run_id"]),
        wandb.Settings(silent=True, console="off", init_timeout=INIT_SECONDS),
    )
    is_offline = wandb.setup().settings.mode in ("offline", "disabled")
    is_there = not project and (run.get("wandb") or {}).get("url") is not None
    if not is_offline:
        require_credentials()
    with wandb.init(
        entity=entity or tracking.get("entity"),
        project=name or tracking.get("project") or "gatescope",
        id=run_id if is_there else f"model-{run_id}",
        name=None if is_there else f"model of {run_id}",
        job_type=None if is_there else JOB_TYPE,
        resume="allow",
        dir=study,
        settings=settings,
    ) as session:
        scores = {name: value for name, value in run.get("summary", {}).items() if name.startswith("test/")}
        about = {"run": run_id, "study": run.get("study"), **scores}
        artifact = wandb.Artifact(run_id, type=KIND, description="Best weights on validation", metadata=about)
        artifact.add_dir(str(folder))
        logged = session.log_artifact(artifact, aliases=[ALIAS, "latest"])
        if is_offline:
            return ""
        logged.wait()
        return f"{session.entity}/{session.project}/{run_id}:{ALIAS}"
