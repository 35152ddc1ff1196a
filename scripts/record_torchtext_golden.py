"""Record the behaviour of torchtext's compiled Vocab, for tests/data/encoding/test_torchtext_compat.py.

It runs on torch 2.3 alone, so in an environment of its own (5 GB, two minutes):

    python -m venv /tmp/tt && /tmp/tt/bin/pip install torch==2.3.1 torchtext==0.18.0 'numpy<2'
    /tmp/tt/bin/python scripts/record_torchtext_golden.py tests/data/encoding/torchtext_vocab_golden.json
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

PROGRAMS, OPERATIONS = 60, 25
TOKENS = ["a", "b", "the", "the ", "", "é", "日本", "\U0001f600", "<unk>", "x" * 50]


def draw_operation(rng: random.Random) -> tuple[str, list[Any]]:
    """A method of Vocab and its arguments: known and unknown tokens, indices in and out of bounds."""
    token, index = rng.choice(TOKENS), rng.randint(-2, 9)
    operations: list[tuple[str, list[Any]]] = [
        ("__len__", []),
        ("__contains__", [token]),
        ("__getitem__", [token]),
        ("lookup_indices", [rng.choices(TOKENS, k=rng.randint(0, 4))]),
        ("lookup_token", [index]),
        ("lookup_tokens", [[rng.randint(-1, 6) for _ in range(rng.randint(0, 4))]]),
        ("append_token", [token]),
        ("insert_token", [token, index]),
        ("set_default_index", [rng.choice([None, -1, 0, 3, 100])]),
        ("get_default_index", []),
        ("get_itos", []),
        ("get_stoi", []),
    ]
    return rng.choice(operations)


def outcome(function: Any, arguments: list[Any]) -> dict[str, Any]:
    """The value, or the error's type and the first line of its message (C++ adds a stack trace)."""
    try:
        return {"value": function(*arguments)}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error).split("\n")[0]}


def record(vocab_class: Any) -> list[dict[str, Any]]:
    rng = random.Random(0)
    programs = []
    for _ in range(PROGRAMS):
        start = [rng.choices(TOKENS, k=rng.randint(0, 2)), rng.choice([None, 0])]
        made = outcome(lambda *a: len(vocab_class(*a)), start)
        steps = []
        if "value" in made:
            vocab = vocab_class(*start)
            for _ in range(OPERATIONS):
                name, arguments = draw_operation(rng)
                steps.append([name, arguments, outcome(getattr(vocab, name), arguments)])
        programs.append({"start": start, "made": made, "steps": steps})
    return programs


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    import torch
    from torchtext._torchtext import Vocab  # noqa: TID251  the compiled class itself

    content = {"torch": torch.__version__, "programs": record(Vocab)}
    Path(sys.argv[1]).write_text(json.dumps(content, ensure_ascii=True) + "\n")
