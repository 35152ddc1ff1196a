"""Explain one prediction: gatescope explain run=gru-additive-tweets-s0-1a2b3c4d text="not bad"

    run=RUN          the run, by its id or by its directory
    text=TEXT        the input; or
    index=N          an example of the data that the run was trained on
    other=RUN        a second run, whose explanation of the same input stands beside the first
    before=true      the first run with the weights before its training beside it
    passages=N       search the first N test examples for those that each hidden unit responds to (default:
                     1000)
    split=NAME       the split that the index counts in: train, validation, test (default: test)
    root=PATH        where ids are searched (default: the environment variable RUNS_DIR, else runs)
    trust=true       let the record run code outside this package; only for records that you know
    out=PATH         the HTML page (default: <run>/explain/<the input>.html)
    colour=false     without colours (default: colours on a terminal, unless NO_COLOR is set)

Prints the prediction with its probabilities and the tokens by their importance, and writes one self-contained
page. Exit code: 0 done, 1 the run or the input cannot be used, 2 wrong arguments.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gatescope.analysis.commands import UsageError
from gatescope.commands.arguments import Text, execute, runs_dir

if TYPE_CHECKING:
    from gatescope.explain import Explanation
    from gatescope.trained import Trained

Split = Literal["train", "validation", "test"]
Natural = Annotated[int, Field(ge=0)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope explain` and return its exit code."""
    return execute(explain, __doc__, arguments)


def explain(
    *,
    run: Text,
    text: str | None = None,
    index: Natural | None = None,
    other: Text | None = None,
    before: bool = False,
    passages: Natural = 1000,
    split: Split = "test",
    root: Text | None = None,
    out: Text | None = None,
    colour: bool = True,
    trust: bool = False,
) -> Path:
    """Print the prediction, write the page, and return its path."""
    if (text is None) == (index is None):
        raise UsageError("give either text=… or index=…, such as text='not bad at all'")
    import gatescope  # loads torch
    from gatescope.explain import page, strip

    trained = gatescope.load(run, root or runs_dir(), trust=trust)
    name = str(text) if index is None else f"{split} {index}"
    models = [(trained, "")]
    if before:
        from gatescope.explain import untrained

        models.insert(0, (untrained(trained), "before training"))
    if other is not None:
        models.append((gatescope.load(other, root or runs_dir(), trust=trust), ""))
    found = [_explained(model, text, index, split, passages, note) for model, note in models]
    explanation = found[int(before)]
    coloured = colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(strip(explanation, colour=coloured))
    slug = re.sub(r"\W+", "-", name.lower()).strip("-")[:40] or "text"
    path = Path(out or trained.directory / "explain" / f"{slug}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(*found), encoding="utf-8")
    return path


def _explained(
    trained: Trained, text: str | None, index: int | None, split: Split, passages: int, note: str
) -> Explanation:
    """Return the explanation of one model."""
    from gatescope.explain import explain as explanation_of
    from gatescope.explain import find_passages

    batch = trained.encode([str(text)]) if index is None else trained.example(index, split)
    name = str(text) if index is None else f"{split} {index}"
    nearby = find_passages(trained, passages, but=index if split == "test" else None)
    return explanation_of(trained, batch, name, index is not None, nearby, note)
