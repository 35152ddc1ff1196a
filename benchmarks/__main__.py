"""python -m benchmarks [NAME …]: measures, prints a table and writes benchmarks/results/<NAME>.json."""

from __future__ import annotations

import argparse
from importlib import import_module
from inspect import signature
from pathlib import Path

import torch

NAMES = (
    "instruments_overhead",
    "adjoint_cost",
    "probe_vs_loop",
    "peak_memory",
    "step_overhead",
    "run_cost",
    "sweeps",
    "input_pipeline",
    "bucketing",
    "report_scale",
    "recurrence_speed",
    "recurrence_scaling",
    "recurrence_memory",
    "article_example",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(NAMES)}; all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where JSON goes")
    parser.add_argument("--rounds", type=int, help="pairs of timings; each benchmark knows a sensible number")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1: the steadiest)")
    parser.add_argument("--cells", nargs="+", help="only these cells")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    torch.set_num_threads(arguments.threads)
    options = {}
    if arguments.rounds:
        options["rounds"] = arguments.rounds
    if arguments.cells:
        options["cells"] = tuple(arguments.cells)
    for name in arguments.names or NAMES:
        measure = import_module(f"benchmarks.{name}").measure
        understood = signature(measure).parameters
        result = measure(**{option: value for option, value in options.items() if option in understood})
        print(result.table(), result.write(arguments.out), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
