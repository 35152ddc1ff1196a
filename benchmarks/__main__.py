"""python -m benchmarks [NAME …]: run benchmarks, print tables and write benchmarks/results/<NAME>.json.

Each benchmark runs in its own process, so that none depends on the state that another has left.
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
    "startup",
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
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)} (default: all)")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results", help="folder of the JSON files"
    )
    parser.add_argument(
        "--rounds", type=int, help="number of paired timings (default: that of each benchmark)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="number of torch threads (1 gives the most stable timings)"
    )
    parser.add_argument("--cells", nargs="+", help="measure these cells only")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(
            f"there is no benchmark named {', '.join(sorted(unknown))}; the benchmarks are {', '.join(NAMES)}"
        )
    names = arguments.names or NAMES
    if len(names) > 1:
        options = [argument for argument in sys.argv[1:] if argument not in arguments.names]
        for name in names:
            if code := subprocess.run([sys.executable, "-m", "benchmarks", name, *options]).returncode:
                sys.exit(code)
    else:
        measure(names[0], arguments)


def measure(name: str, arguments: argparse.Namespace) -> None:
    """Run one benchmark in this process, print its table and write its result."""
    torch.set_num_threads(arguments.threads)
    options = {}
    if arguments.rounds:
        options["rounds"] = arguments.rounds
    if arguments.cells:
        options["cells"] = tuple(arguments.cells)
    benchmark = import_module(f"benchmarks.{name}").measure
    accepted = signature(benchmark).parameters
    result = benchmark(**{option: value for option, value in options.items() if option in accepted})
    print(result.table(), result.write(arguments.out), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
