#!/bin/bash
# Checks that the project runs on torch 2.3.1 with the real torchtext 0.18.0, and that our Vocab equals its own:
#   scripts/check_torchtext_env.sh [FOLDER]      (about 5 GB and three minutes; FOLDER defaults to a new one in /tmp)
# Exit code 0 when the compiled class gives the outcomes that tests/data/encoding/torchtext_vocab_golden.json holds, and a
# small run ends well. Not part of CI: it needs a network.
case ${1:-} in -h | --help) sed -n '2,/^[^#]/{/^#/p}' "$0" | cut -c3-; exit ;; esac
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d /tmp/torchtext-XXXXXX)}
python3 -m venv "$folder/venv"
bin="$folder/venv/bin"
"$bin/pip" install --quiet torch==2.3.1 torchtext==0.18.0 pytorch-lightning==2.6.6 'numpy<3'
"$bin/pip" install --quiet -e "$root"
"$bin/python" -c "import torch; assert torch.__version__.startswith('2.3.1'), torch.__version__"
"$bin/python" "$root/scripts/record_torchtext_golden.py" "$folder/golden.json"
"$bin/python" - "$folder/golden.json" "$root/tests/data/encoding/torchtext_vocab_golden.json" <<'PYTHON'
import json
import sys

fresh, kept = (json.load(open(path))["programs"] for path in sys.argv[1:])
assert fresh == kept, "the compiled Vocab differs from the golden file"
print(f"{sum(len(p['steps']) for p in kept)} outcomes of the compiled Vocab are those of the golden file")
PYTHON
"$bin/python" "$root/train.py" data=tweets data.limit=200 trainer.max_steps=5 tracking=off "root=$folder/runs"
echo "torch 2.3.1 with torchtext 0.18.0: well"
