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
    "watch_cost",
    "peak_memory",
    "step_overhead",
    "run_cost",
    "startup",
    "sweeps",
    "input_pipeline",
    "bucketing",
    "report_scale",
    "predict_file",
    "series_memory",
    "recurrence_speed",
    "recurrence_scaling",
    "recurrence_memory",
    "article_example",
)
GPU_NAMES = ("gpu_recurrence", "gpu_step", "gpu_adjoint", "gpu_shared", "gpu_predict")
"""Run only if they are named: they need a GPU, and write a section of gpu_<card>.json each."""


def main() -> None:
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"any of {', '.join(NAMES)} (default: all), or with a GPU of {', '.join(GPU_NAMES)}",
    )
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
    parser.add_argument("--device", choices=("cuda", "cpu"), help="of the gpu_ benchmarks (default: cuda)")
    parser.add_argument(
        "--seconds", type=float, help="time of a gpu_ benchmark, which leaves out the cases that do not fit"
    )
    parser.add_argument("--after", type=int, help="go on after this number of cases of a gpu_ benchmark")
    arguments = parser.parse_args()
    known = (*NAMES, *GPU_NAMES)
    if unknown := set(arguments.names) - set(known):
        parser.error(
            f"there is no benchmark named {', '.join(sorted(unknown))}; the benchmarks are {', '.join(known)}"
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
    given = {name: getattr(arguments, name) for name in ("rounds", "device", "seconds", "after", "out")}
    options = {name: value for name, value in given.items() if value is not None}
    if arguments.cells:
        options["cells"] = tuple(arguments.cells)
    benchmark = import_module(f"benchmarks.{name}").measure
    accepted = signature(benchmark).parameters
    result = benchmark(**{option: value for option, value in options.items() if option in accepted})
    print(result.table(), result.write(arguments.out), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
