"""Explain one prediction: gatescope explain run=gru-additive-tweets-s0-1a2b3c4d text="not bad"

    run=RUN          the run, by its id or by its directory
    text=TEXT        the input; or
    index=N          an example of the data that the run was trained on
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
from typing import Annotated, Literal

from pydantic import Field

from gatescope.analysis.commands import UsageError
from gatescope.commands.arguments import Text, execute, runs_dir

Natural = Annotated[int, Field(ge=0)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `gatescope explain` and return its exit code."""
    return execute(explain, __doc__, arguments)


def explain(
    *,
    run: Text,
    text: str | None = None,
    index: Natural | None = None,
    split: Literal["train", "validation", "test"] = "test",
    root: Text | None = None,
    out: Text | None = None,
    colour: bool = True,
    trust: bool = False,
) -> Path:
    """Print the prediction, write the page, and return its path."""
    if (text is None) == (index is None):
        raise UsageError("give either text=… or index=…, such as text='not bad at all'")
    import gatescope  # loads torch
    from gatescope.explain import explain as explanation_of
    from gatescope.explain import page, strip

    trained = gatescope.load(run, root or runs_dir(), trust=trust)
    if index is None:
        name = str(text)
        batch = trained.encode([name])
    else:
        name = f"{split} {index}"
        batch = trained.example(index, split)
    explanation = explanation_of(trained, batch, name, has_target=index is not None)
    coloured = colour and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(strip(explanation, colour=coloured))
    slug = re.sub(r"\W+", "-", name.lower()).strip("-")[:40] or "text"
    path = Path(out or trained.directory / "explain" / f"{slug}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(explanation), encoding="utf-8")
    return path
