"""Write the primer, a page that teaches the GRU with numbers of real runs: gatescope primer

    root=PATH        where the runs of study=primer_tweets and study=primer_recall are (default: the
                     environment variable RUNS_DIR, else runs)
    out=PATH         where reports are written (default: reports)
    source=frozen    draw the page again from <out>/primer/numbers.json; no runs are needed (default: records)

Writes numbers.json, primer.html and README.md in <out>/primer, and the list of reports. Exit code: 0 written,
1 runs are missing, 2 wrong arguments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from gatescope.analysis.commands import CommandFailed
from gatescope.analysis.report import write_index
from gatescope.analysis.report.index import write_summary
from gatescope.commands.arguments import Text, execute, runs_dir
from gatescope.invocation import command

NAME, FILE, PAGE = "primer", "numbers.json", "primer.html"
QUESTION = "What does an article on the GRU claim, and what do trained networks show?"
README = """# primer

{question}

[primer.html](primer.html) is one page, in English and Chinese, that needs no network: the equations, one
unit's gates on a sentence, what held gates do to memory, how a gradient fades over lag and training, where
attention looks, and each claim of the article beside its numbers.
All numbers are in [numbers.json](numbers.json).

{finding}

```
python train.py study=primer_tweets
python train.py study=primer_recall
python scripts/primer.py
python scripts/primer.py source=frozen
```

The last command draws the page again from the numbers, without any run.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope primer` and return its exit code."""
    return execute(primer, __doc__, arguments)


def primer(
    *, root: Text | None = None, out: Text = "reports", source: Literal["records", "frozen"] = "records"
) -> Path:
    """Write the page and its numbers, and return the path of the page."""
    from gatescope.primer import dumps, measure, page  # loads torch

    folder = Path(out) / NAME
    frozen = folder / FILE
    if source == "records":
        text = dumps(measure(root or runs_dir(), out))
        folder.mkdir(parents=True, exist_ok=True)
        frozen.write_text(text, encoding="utf-8")
    elif not frozen.is_file():
        raise CommandFailed(f"{frozen} does not exist: `{command('primer')}` writes it from the runs")
    numbers = json.loads(frozen.read_text(encoding="utf-8"))
    path = folder / PAGE
    path.write_text(page(numbers), encoding="utf-8")
    finding = _finding(numbers)
    (folder / "README.md").write_text(README.format(question=QUESTION, finding=finding), encoding="utf-8")
    write_summary(folder, {"name": NAME, "question": QUESTION, "finding": finding})
    write_index(out)
    return path


def _finding(numbers: dict[str, Any]) -> str:
    """Return how many claims hold, in one line."""
    from gatescope.primer.claims import verdicts

    found = list(verdicts(numbers).values())
    named = {"holds": "hold", "partly": "hold in part", "fails": "do not hold", "open": "are undecided"}
    parts = [f"{found.count(one)} {words}" for one, words in named.items() if one in found]
    return f"Of {len(found)} claims {', '.join(parts)}."
