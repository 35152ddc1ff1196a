"""Export a trained run: gatescope export run=gru-none-reviews-s0-1a2b3c4d out=reviews_model

    run=RUN          the run, by its id or by its directory
    out=FOLDER       a new folder for everything that the model needs, with a model card; or
    out=FILE.onnx    its graph as ONNX, with FILE.json beside it (the extra export)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    trust=true       let the record run code outside this package; only for records that you know

The folder has weights, architecture, tokenizer, vocabulary, labels, scales and the results with README.md: it
is opened by gatescope.load(FOLDER), and by run=FOLDER of `gatescope predict` and `gatescope evaluate`, on any
machine with Gatescope. Exit code: 0 done, 1 the run cannot be exported, 2 wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis.commands import UsageError
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.invocation import command

FILES = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".zip", ".pt", ".ckpt"})
"""Suffixes of files that a folder is not meant by."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope export` and return its exit code."""
    return execute(export, __doc__, arguments)


def export(*, run: Text, out: Text, root: Text | None = None, trust: bool = False) -> str:
    """Write the folder or the graph, and return what was written, one path a line."""
    import gatescope
    from gatescope.export import export as export_graph
    from gatescope.export.folder import export_folder
    from gatescope.export.graph import SUFFIXES

    if (suffix := Path(out).suffix) in FILES:
        raise UsageError(
            f"out={out}: a model is exported to a folder, such as out={Path(out).stem}, or to a file .onnx; "
            f"`{command('predict')} run={run} file=… out={out}` writes answers to a {suffix} file"
        )
    trained = gatescope.load(run, root or runs_dir(), trust=trust)
    path = Path(out).expanduser()
    if path.suffix in SUFFIXES:
        graph = export_graph(trained, path)
        return f"{graph}\n{graph.with_suffix('.json')}"
    folder = export_folder(trained, path)
    return "\n".join(str(one) for one in sorted(folder.rglob("*")) if one.is_file())
