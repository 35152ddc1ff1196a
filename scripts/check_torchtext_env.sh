#!/bin/bash
# Checks that our Vocab behaves as the compiled one of torchtext 0.18.0, which loads on torch 2.3 only:
#   scripts/check_torchtext_env.sh [FOLDER]      (about 5 GB and two minutes; FOLDER defaults to a new one in /tmp)
# Exit code 0 when the compiled class gives the outcomes that tests/data/encoding/torchtext_vocab_golden.json holds. The
# project itself needs a newer torch and is not installed there. Not part of CI: it needs a network.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d /tmp/torchtext-XXXXXX)}
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet torch==2.3.1 torchtext==0.18.0 'numpy<2'
"$bin/python" "$root/scripts/record_torchtext_golden.py" "$folder/golden.json"
"$bin/python" - "$folder/golden.json" "$root/tests/data/encoding/torchtext_vocab_golden.json" <<'PYTHON'
import json
import sys

fresh, kept = (json.load(open(path))["programs"] for path in sys.argv[1:])
assert fresh == kept, "the compiled Vocab differs from the golden file"
print(f"{sum(len(p['steps']) for p in kept)} outcomes of the compiled Vocab are those of the golden file")
PYTHON
