"""python -m benchmarks [NAME …]: measures, prints a table and writes benchmarks/results/<NAME>.json.

Each benchmark runs in a process of its own: none meets what another has left.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
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
    names = arguments.names or NAMES
    if len(names) > 1:
        options = [argument for argument in sys.argv[1:] if argument not in arguments.names]
        for name in names:
            if code := subprocess.run([sys.executable, "-m", "benchmarks", name, *options]).returncode:
                sys.exit(code)
    else:
        measure(names[0], arguments)


def measure(name: str, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    options = {}
    if arguments.rounds:
        options["rounds"] = arguments.rounds
    if arguments.cells:
        options["cells"] = tuple(arguments.cells)
    benchmark = import_module(f"benchmarks.{name}").measure
    understood = signature(benchmark).parameters
    result = benchmark(**{option: value for option, value in options.items() if option in understood})
    print(result.table(), result.write(arguments.out), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
