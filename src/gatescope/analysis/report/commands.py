"""The commands of the section "Reproduce"."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gatescope.analysis.tables import Tables
from gatescope.invocation import command


def commands(tables: Tables, words: Sequence[str] = (), is_frozen: bool = False) -> list[str]:
    """Return the recorded commands that compute the runs again, then those that write the report.

    Args:
        tables: the study.
        words: words of the command that writes the report, beside `study`.
        is_frozen: whether the report can be drawn from frozen tables as well.
    """
    study = f"study={tables.study['name']}"
    recorded = {_command(words) for words in tables.runs.command if words}
    training = sorted(recorded) or [f"{command('train')} {shlex.quote(study)}"]
    select = tables.study.get("select")
    if select and not any(word.startswith(("select=", "study.select")) for word in words):
        words = [f"select={','.join(select['over'])}", f"by={select['by']}", *words]
    reporting = [[study, *words]]
    if is_frozen:
        reporting.append([study, *(word for word in words if word.startswith("out=")), "source=frozen"])
    return [*training, *(f"{command('report')} {shlex.join(own)}" for own in reporting)]


def _command(words: tuple[str, ...]) -> str:
    program = Path(words[0]).name
    if program == "train.py":
        start = command("train").split()
    else:
        start = ["python", program] if program.endswith(".py") else program.split()  # "gatescope train"
    return shlex.join([*start, *words[1:]])
