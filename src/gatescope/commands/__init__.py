"""The console command `gatescope` and its subcommands, one module each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from gatescope.components import nearest

COMMANDS = {
    "train": ("gatescope.cli", "train one model, or sweep over many"),
    "status": ("gatescope.commands.status", "list which runs of a study are finished, running or missing"),
    "report": ("gatescope.commands.report", "write the report of a study from its records"),
    "compare": ("gatescope.commands.compare", "compare two runs"),
    "predict": ("gatescope.commands.predict", "predict the texts of a file, or one text, with a run"),
    "evaluate": ("gatescope.commands.evaluate", "score a run on another file, with intervals"),
    "export": ("gatescope.commands.export", "write a run as a folder to take away, or as an ONNX graph"),
    "upload": ("gatescope.commands.upload", "send a trained model to W&B as an artifact"),
    "explain": ("gatescope.commands.explain", "explain one prediction of a run"),
    "primer": ("gatescope.commands.primer", "write the page that teaches the GRU with numbers of runs"),
    "errors": ("gatescope.commands.errors", "list what a run predicts wrongly on its test split"),
    "data": ("gatescope.commands.data", "describe a dataset"),
    "dashboard": ("gatescope.commands.dashboard", "build the dashboard of a study on W&B"),
}
"""Module and description of each subcommand. The module has a function `main(arguments)`."""

USAGE = 2
"""Exit code of a wrong command line."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand and exit with its exit code.

    Args:
        arguments: The name of the subcommand and its arguments; by default those of this process.
    """
    name, *words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
    elif name == "--version":
        from gatescope import __version__

        print(__version__)
    elif name not in COMMANDS:
        close = nearest(name, COMMANDS)
        hint = f", did you mean {close}?" if close else "."
        print(f"gatescope: unknown command {name}{hint} Commands: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(USAGE)
    else:
        sys.argv = [f"{sys.argv[0]} {name}", *words]  # Hydra and the records of runs read it
        sys.exit(importlib.import_module(COMMANDS[name][0]).main(words))


def help_text() -> str:
    """Return what `gatescope --help` prints."""
    lines = [f"  {name:<11}{description}" for name, (_, description) in COMMANDS.items()]
    return "\n".join(
        [
            "Gatescope trains recurrent networks and measures what happens inside them.",
            "",
            "  gatescope COMMAND [key=value ...]",
            "",
            "Commands (`gatescope COMMAND --help` explains one):",
            *lines,
        ]
    )
