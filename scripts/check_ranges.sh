#!/usr/bin/env bash
# Check the newest and the oldest versions that pyproject.toml allows, each in an environment of its own.
#   scripts/check_ranges.sh [newest|oldest PYTHON]
# PYTHON is a version or an interpreter, such as 3.12. Without arguments: the newest on Python 3.11, the oldest on 3.11
# and the newest on 3.12 (with pyenv, name both: PYENV_VERSION=3.11.7:3.12.1). "oldest" is the lower bound of each direct
# dependency; those of the dependencies are the newest.
#
# The environments are made in FOLDER (default: a new one in /tmp) by uv, which is installed there too; it needs an index,
# and reads UV_INDEX, UV_TORCH_BACKEND (cpu: torch's build for CPUs) and the like. PyPI's torch is a CUDA build: 7 GB for
# each environment, which UV_CACHE_DIR keeps. TESTS are the tests that run: a few for each dependency, 5 minutes on one
# core. Exit code 0: all passed. FOLDER holds the versions and the log of each.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${FOLDER:-$(mktemp -d /tmp/gatescope-ranges-XXXXXX)}
tests=${TESTS:-tests/test_run.py tests/test_package.py tests/test_trained.py tests/export/test_graph.py
    tests/commands/test_commands.py tests/commands/test_dashboard.py tests/commands/test_explain.py
    tests/commands/test_report.py tests/analysis/test_statistics.py tests/analysis/test_page.py tests/baselines
    tests/benchmarks/test_recurrence.py tests/cells/test_forward.py tests/cells/test_kernel_build.py
    tests/cells/test_native_kernel.py tests/cells/test_triton_kernels.py tests/data/encoding/test_text.py
    tests/data/encoding/test_torchtext_compat.py tests/data/files/test_audio_folder.py tests/data/hub
    tests/data/shipped tests/instruments/test_attribution.py tests/studies/test_engines.py tests/tracking/test_wandb.py
    tests/tracking/test_tensorboard.py tests/training/test_lightning_internals.py}
export UV_PYTHON_DOWNLOADS=never
python3 -m venv "$folder/uv"
"$folder/uv/bin/pip" install --quiet uv
uv="$folder/uv/bin/uv"

# All dependencies but those of the extras that no test here uses, and of the tools in the extra dev those that the tests
# import. Torch's CUDA build pins a triton: the range in dev replaces the pin, since the tests only use the interpreter.
"$folder/uv/bin/python" - > "$folder/requirements.in" <<'PYTHON'
import re
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
tools = {"absl-py", "captum", "hatchling", "hypothesis", "psutil", "pytest", "pytest-xdist", "triton"}
wanted = project["dependencies"] + [one for one in extras["dev"] if re.match(r"[\w-]+", one)[0] in tools]
for extra, requirements in extras.items():
    if extra not in ("dev", "docs", "ray"):
        wanted += [one for one in requirements if not one.startswith("gatescope[")]
print(*wanted, sep="\n")
PYTHON
grep '^triton' "$folder/requirements.in" > "$folder/overrides.txt"

check() { # newest|oldest PYTHON; the commands are joined by &&, as set -e does not hold in what || follows
    local name="$1-${2##*/}" resolution=highest warnings=()
    if [ "$1" = oldest ]; then # old releases use what newer ones of their own dependencies deprecate
        resolution=lowest-direct
        warnings=(-W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning -W ignore::FutureWarning)
    fi
    local python="$folder/$name/bin/python"
    "$uv" venv --quiet --seed --python "$2" "$folder/$name" &&
        "$uv" pip compile --quiet --python "$python" --resolution "$resolution" "$folder/requirements.in" \
            --overrides "$folder/overrides.txt" --output-file "$folder/$name.txt" > "$folder/$name.log" &&
        "$uv" pip install --quiet --python "$python" --no-deps -r "$folder/$name.txt" &&
        "$uv" pip install --quiet --python "$python" --no-deps -e . &&
        "$python" -m pytest -n 1 -p no:cacheprovider "${warnings[@]}" $tests 2>&1 | tee "$folder/$name.log"
}

if [ $# -gt 0 ]; then
    check "$1" "${2:-3.11}"
else
    failed=()
    for one in "newest 3.11" "oldest 3.11" "newest 3.12"; do
        check $one || failed+=("$one")
    done
    echo "${#failed[@]} failed: ${failed[*]-}"
    [ ${#failed[@]} -eq 0 ]
fi
