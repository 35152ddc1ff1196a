#!/usr/bin/env bash
# Check and measure Gatescope on a GPU, on a machine without a network and without this project's environment.
#
#   scripts/check_gpu.sh OUT [--wheels DIR] [--small]
#
# OUT       receives check_gpu.log, machine.json, steps.jsonl (a line for each step: name, seconds, exit code),
#           tests.json (the results of the tests) and results.tar.gz (the output of each step, JUnit files, the
#           JSON files of benchmarks and the records of runs). All are written again after each step, so that a
#           run that is cut off leaves what it has.
# --wheels  installs the wheels of scripts/gpu_wheels.sh for the length of this script.
# --small   uses the CPU and small sizes, to check the script itself.
#
# Environment: PYTHON (default: python3), LIMIT (seconds of all steps together, default: 520), SKIP (names of
# steps that are left out, separated by spaces), JOBS (processes of tests, default: half the cores, at most 8).
# A step that fails or exceeds its time does not stop the next one. Exit code: 0 if all steps succeeded, else 1.
set -uo pipefail

help() { sed -n '2,/^set /{/^#/p}' "$0" | cut -c3-; }
usage() { help >&2; exit 2; }

wheels="" small="" out=""
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) [ $# -ge 2 ] || usage; wheels=$2; shift ;;
        --small) small=1 ;;
        -h | --help) help; exit ;;
        -*) usage ;;
        *) [ -z "$out" ] || usage; out=$1 ;;
    esac
    shift
done
[ -n "$out" ] || usage
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
if [ -n "$wheels" ]; then
    wheels=$(cd "$wheels" 2>/dev/null && pwd) || { echo "there is no folder of wheels: see --wheels" >&2; exit 2; }
fi
cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-python3}
started=$SECONDS
limit=${LIMIT:-520}
work=$(mktemp -d "${TMPDIR:-/tmp}/check-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
results=$work/results
mkdir -p "$results/steps" "$results/benchmarks" "$results/runs"
: > "$out/check_gpu.log"
: > "$out/steps.jsonl"
failures=0

cores=$(nproc)
jobs=${JOBS:-$((cores / 2 > 8 ? 8 : cores / 2))}
export PYTHONUNBUFFERED=1 PYTHONPATH="$work/site:$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export RUNS_DIR="$work/runs" WANDB_MODE=offline WANDB_SILENT=true HYDRA_FULL_ERROR=1
export OMP_NUM_THREADS=$((cores / (jobs > 0 ? jobs : 1) > 4 ? 4 : (cores > 1 ? 2 : 1)))
if [ -n "$small" ]; then
    export CUDA_VISIBLE_DEVICES=""
    bench=(--device cpu) trainer=cpu
else
    bench=() trainer=gpu
fi

say() { echo "$*" | tee -a "$out/check_gpu.log"; }

# Write the results so far. A bundle replaces the old one in one operation.
bundle() {
    cp "$out/steps.jsonl" "$results/"
    [ -f "$out/machine.json" ] && cp "$out/machine.json" "$results/"
    "$python" -S - "$results" "$out/tests.json" <<'PYTHON' 2>> "$out/check_gpu.log"
"""Write the results of all JUnit files as one compact JSON."""
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

counts, failed, slowest = {}, [], []
for path in sorted(Path(sys.argv[1]).glob("*.xml")):
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except ElementTree.ParseError:
        continue
    for case in cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        marks = [child for child in case if child.tag in ("failure", "error", "skipped")]
        result = marks[0].tag if marks else "passed"
        counts[result] = counts.get(result, 0) + 1
        slowest.append((float(case.get("time", 0)), name))
        if result in ("failure", "error"):
            text = f"{marks[0].get('message') or ''}\n{marks[0].text or ''}"
            failed.append({"test": name, "result": result, "text": text[:1500] + " … " + text[-1500:]})
slowest = [{"test": name, "seconds": seconds} for seconds, name in sorted(slowest, reverse=True)[:15]]
content = {"counts": counts, "failed": failed, "slowest": slowest}
Path(sys.argv[2]).write_text(json.dumps(content, indent=1, ensure_ascii=False))
PYTHON
    tar -C "$work" -czf "$work/results.tar.gz" results && mv "$work/results.tar.gz" "$out/results.tar.gz"
}

# step NAME SECONDS COMMAND…: run a command for at most so many seconds and record it.
step() {
    local name=$1 seconds=$2 begin code=0 took left
    shift 2
    case " ${SKIP:-} " in *" $name "*) say "== $name: left out"; return ;; esac
    left=$((limit - (SECONDS - started) - 10))
    [ "$seconds" -le "$left" ] || seconds=$left
    if [ "$seconds" -lt 3 ]; then
        say "== $name: no time left"
        printf '{"name": "%s", "seconds": 0, "exit_code": null, "limit": 0}\n' "$name" >> "$out/steps.jsonl"
        failures=$((failures + 1))
        return
    fi
    say "== $name (at most $seconds s)"
    begin=$(date +%s.%N)
    timeout "--signal=${end_with:-TERM}" --kill-after=8 "$seconds" "$@" > "$results/steps/$name.log" 2>&1 || code=$?
    took=$(echo "$(date +%s.%N) $begin" | awk '{printf "%.1f", $1 - $2}')
    tail -n 25 "$results/steps/$name.log" | cut -c1-400 >> "$out/check_gpu.log"
    say "-- $name: exit code $code after $took s"
    printf '{"name": "%s", "seconds": %s, "exit_code": %d, "limit": %d}\n' \
        "$name" "$took" "$code" "$seconds" >> "$out/steps.jsonl"
    [ "$code" -eq 0 ] || failures=$((failures + 1))
    bundle
}

# tests NAME SECONDS ARGUMENT…: a step that runs pytest.
tests() {
    local name=$1 seconds=$2 options=(-o addopts= -o filterwarnings=default -p no:cacheprovider -v)
    shift 2
    options+=(--strict-markers -o "faulthandler_timeout=60" --durations=10 "--junitxml=$results/$name.xml")
    "$python" -c "import xdist" 2> /dev/null && [ "$jobs" -gt 1 ] && options+=(-n "$jobs" --dist load)
    "$python" -c "import pytest_timeout" 2> /dev/null && options+=(--timeout=120)
    [ -n "$small" ] && options+=(-m "not slow")
    # At SIGINT pytest writes the results so far.
    end_with=INT step "$name" "$seconds" env -u PYTEST_XDIST_WORKER -u PYTEST_CURRENT_TEST \
        "$python" -m pytest "${options[@]}" "$@"
}

machine() {
    "$python" - "$out/machine.json" "$1" <<'PYTHON'
"""Describe the machine, and import everything that a run imports."""
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        return None

def version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None

import torch

packages = ("torch", "triton", "pytorch-lightning", "torchmetrics", "numpy", "pandas", "scipy", "scikit-learn",
            "hydra-core", "pydantic", "wandb", "torchtext", "pytest", "pytest-xdist", "ninja", "protobuf")
machine = {
    "card": None, "driver": None, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    "python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count(),
    "commit": output("git", "rev-parse", "HEAD"), "commit_given": sys.argv[2] or None,
    "compiler": output("c++", "--version"), "versions": {name: version_of(name) for name in packages},
}
if torch.cuda.is_available():
    properties = torch.cuda.get_device_properties(0)
    machine |= {
        "card": properties.name, "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}", "multiprocessors": properties.multi_processor_count,
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
    }
Path(sys.argv[1]).write_text(json.dumps(machine, indent=1))
print(json.dumps(machine, indent=1))
import gatescope.analysis, gatescope.cli, gatescope.run, gatescope.trained # noqa
from gatescope.cells.kernels.build import available
print("native kernel:", available())
if torch.cuda.is_available():
    print("matrix product on the card:", float((torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")).sum()))
PYTHON
}

# train OPTION…: a run as a user starts it.
train() { "$python" train.py "trainer=$trainer" "root=$work/runs" "$@"; }

export python out work trainer
export -f machine train

if [ -n "$wheels" ]; then
    step wheels 90 "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
        --target "$work/site" "$wheels"/*.whl
fi
step machine 90 bash -c 'machine "$1"' _ "${COMMIT:-}"
tests tests_gpu 170 tests/gpu tests/cells/test_triton_kernels.py --ignore=tests/gpu/test_end_to_end.py
for budget in gpu_recurrence:65 gpu_step:45 gpu_adjoint:35 gpu_predict:20 gpu_shared:100; do
    name=${budget%:*} seconds=${budget#*:}
    [ -z "$small" ] || seconds=12
    step "$name" $((seconds + 20)) "$python" -m benchmarks "$name" --out "$results/benchmarks" \
        --seconds "$seconds" ${bench[@]+"${bench[@]}"}
done
tests tests_end_to_end 150 tests/gpu/test_end_to_end.py
run=(instruments=full trainer.max_epochs=2)
[ -z "$small" ] || run=(trainer.max_steps=20 data.limit=400)
step train_default 70 bash -c 'train "$@"' _ "${run[@]}"
for file in "$work"/runs/*/*/run.json "$work"/runs/*/*/metrics.jsonl; do
    [ -f "$file" ] && cp "$file" "$results/runs/$(basename "$(dirname "$file")").$(basename "$file")"
done
bundle
say "== done after $((SECONDS - started)) s, $failures steps failed"
[ "$failures" -eq 0 ]
