"""Send a trained model to W&B as an artifact: gatescope upload run=gru-additive-tweets-s0-1a2b3c4d

    run=RUN          the run, by its id or by its directory
    project=NAME     the W&B project, or ENTITY/PROJECT (default: that of the run)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)

The artifact is the folder that `gatescope export` writes: the best weights on validation, tokenizer, labels,
scales and a model card. Nothing else sends weights to W&B. With WANDB_MODE=offline it is kept on disk, for
`wandb sync`. Exit code: 0 done, 1 the run has no weights or W&B refuses, 2 wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gatescope.analysis.commands import CommandFailed
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.tracking.runfile import read_config, read_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope upload` and return its exit code."""
    return execute(upload, __doc__, arguments)


def upload(*, run: Text, project: Text | None = None, root: Text | None = None) -> str:
    """Send the model, and return the name of the artifact.

    Raises:
        CommandFailed: W&B refuses it.
    """
    import gatescope
    from gatescope.export.folder import export_folder

    trained = gatescope.load(run, root or runs_dir())
    record, config = read_run(trained.directory), read_config(trained.directory)
    import wandb

    from gatescope.tracking.wandb import CredentialsError
    from gatescope.tracking.wandb_artifact import upload_model

    study = trained.directory.parent
    try:
        with TemporaryDirectory() as place:
            folder = export_folder(trained, Path(place) / trained.directory.name)
            name = upload_model(folder, record, config, project or "", study)
    except (wandb.Error, CredentialsError, ValueError) as error:
        raise CommandFailed(
            f"W&B does not take the model: {str(error).splitlines()[0]}; check project=ENTITY/PROJECT, and "
            "`wandb login` or WANDB_API_KEY"
        ) from error
    return name or f"kept on disk: `wandb sync {study / 'wandb'}/offline-run-*` sends it"
