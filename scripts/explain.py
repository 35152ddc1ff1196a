"""A look inside one prediction: python scripts/explain.py run=gru-additive-tweets-s0-1a2b3c4d text="not bad"

    run=RUN          the run, by its id or by its directory
    text=TEXT        what is asked; or
    index=N          an example of the data that the run was trained on
    split=NAME       which split the index counts in: train, validation, test (default: test)
    root=PATH        where ids are looked for (default: the environment variable RUNS_DIR, else runs)
    out=PATH         the HTML page (default: <run>/explain/<what was asked>.html)
    colour=no        without colour (default: where the terminal has it and NO_COLOR is not set)

Prints the prediction with its probabilities and a strip of tokens, and writes one self-contained page.
Exit code 0 when done, 1 when the run or the input cannot be used, 2 for a wrong argument.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis.commands import UsageError, parse_for_run
from gatescope.analysis.runs import NoRuns

EXAMPLE = 'python scripts/explain.py run=gru-additive-tweets-s0-1a2b3c4d text="not bad at all"'
KEYS = ("run", "text", "index", "split", "root", "out", "colour")
SPLITS = ("train", "validation", "test")


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        given = parse(words)
        print(write(given))
    except (UsageError, NoRuns, ValueError, OSError) as error:
        if not isinstance(error, UsageError | NoRuns | OSError) and not _ours(error):
            raise
        print(f"explain: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def write(given: dict[str, str]) -> Path:
    """Prints the strip and writes the page; returns where it is."""
    import gatescope
    from gatescope.explain import explain, page, strip

    trained = gatescope.load(given["run"], given["root"])
    if "text" in given:
        asked, name = given["text"], given["text"]
        batch = trained.encode([asked])
    else:
        split, index = given["split"], int(given["index"])
        asked = name = f"{split} {index}"
        batch = trained.example(index, split)  # type: ignore[arg-type]
    found = explain(trained, batch, asked, has_target="index" in given)
    sys.stdout.write(strip(found, colour=coloured(given["colour"])))
    slug = re.sub(r"\W+", "-", name.lower()).strip("-")[:40] or "text"
    out = Path(given["out"] or trained.directory / "explain" / f"{slug}.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page(found), encoding="utf-8")
    return out


def coloured(asked: str) -> bool:
    return asked != "no" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def parse(words: Sequence[str]) -> dict[str, str]:
    """
    Raises:
        UsageError: a key is unknown, run is missing, or not exactly one of text and index is given.
    """
    defaults = {"root": os.environ.get("RUNS_DIR", "runs"), "split": "test", "out": "", "colour": ""}
    given = parse_for_run(words, KEYS, defaults, EXAMPLE)
    if ("text" in given) == ("index" in given):
        raise UsageError(f"give either text=… or index=…; for example: {EXAMPLE}")
    if "index" in given and not given["index"].isdecimal():
        raise UsageError(f"index={given['index']} is not a number from 0 on")
    if given["split"] not in SPLITS:
        raise UsageError(f"split={given['split']}: one of {', '.join(SPLITS)}")
    return given


def _ours(error: ValueError) -> bool:
    """Whether its message was written for the reader."""
    from gatescope.data.errors import DataError
    from gatescope.trained import LoadError

    return isinstance(error, DataError | LoadError)


if __name__ == "__main__":
    sys.exit(main())
