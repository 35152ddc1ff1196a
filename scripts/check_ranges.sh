#!/usr/bin/env bash
# Check the oldest and the newest versions that pyproject.toml allows, each in an environment of its own.
#   scripts/check_ranges.sh oldest|newest [PYTHON] [FOLDER]
# PYTHON is the interpreter (default: python3), FOLDER where the environment is made (default: a new one in /tmp).
# TORCH is the requirement for torch (default: torch with its CPU build, where an index has one). TESTS are the
# tests that run. Needs a network or an index, about 2 GB, and ten minutes. Exit code 0: the tests passed.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:?oldest or newest}
python=${2:-python3}
folder=${3:-$(mktemp -d /tmp/gatescope-ranges-XXXXXX)}
tests=${TESTS:-tests/configs tests/commands tests/training tests/test_run.py tests/test_trained.py tests/cells/test_fused.py}
"$python" -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/python" - "$which" > "$folder/requirements.txt" <<'PYTHON'
"""Print a requirement for each dependency and for the tools of the tests."""
import re
import sys
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
tools = ("absl-py", "hypothesis", "psutil", "pytest")
wanted = [*project["dependencies"], *extras["parallel"], *extras["dashboard"]]
wanted += [one for one in extras["dev"] if re.match("[a-z-]+", one)[0] in tools]
for requirement in wanted:
    if sys.argv[1] == "oldest":  # the lower bound alone; the bound of torch is given by TORCH
        name, lower = re.match(r"([\w\-\[\]]+)[^,]*?[>=]=([\w.]+)", requirement).groups()
        requirement = f"{name}=={lower}.*" if "==" not in requirement else requirement
    if not requirement.startswith("torch>"):
        print(requirement)
PYTHON
"$bin/pip" install --quiet "${TORCH:-torch}" -r "$folder/requirements.txt"
"$bin/pip" install --quiet --no-deps -e .
"$bin/pip" list --format freeze > "$folder/versions.txt"
grep -iE '^(torch|torchmetrics|pytorch-lightning|hydra-core|numpy|pandas|wandb|pydantic)==' "$folder/versions.txt"
"$bin/python" -m pytest -n 0 -p no:cacheprovider $tests
echo "$which: passed with $("$bin/python" --version), $folder/versions.txt"
