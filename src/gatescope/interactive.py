"""For notebooks: `gatescope.run(overrides=[...])` trains a model, `gatescope.study(name)` reads a study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gatescope.analysis.runs import NoRuns, RecordSource, Tables
from gatescope.components import nearest

if TYPE_CHECKING:
    import pandas as pd

    from gatescope.analysis.comparison import Comparison
    from gatescope.run import RunResult

BAR = "trainer.enable_progress_bar"
"""The key that shows a progress bar; it does not change which run it is."""


def run(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> RunResult:
    """Compose a config and train it; see `gatescope.run`."""
    from gatescope.composition import add_config_dir, compose, make_loader
    from gatescope.config import ConfigError
    from gatescope.run import run as run_config
    from gatescope.run_options import with_options_of_start

    if isinstance(overrides, str):
        raise ConfigError([f"overrides: given one text; use a list: [{overrides!r}]"])
    words = with_options_of_start(list(overrides))
    if not any(word.partition("=")[0] == BAR for word in words):
        words.append(f"{BAR}=true")
    loader = make_loader()
    folder = None if config_dir is None else str(config_dir)
    return run_config(compose(loader, add_config_dir(words, folder)))


class Study:
    """The runs of a study as tables, and its comparison.

    Args:
        name: Name of the study.
        root: Directory of the records; default: the environment variable RUNS_DIR, else `runs`.

    Raises:
        NoRuns: There is no run of this study; the message says how to get some.
    """

    def __init__(self, name: str, root: str | Path | None = None) -> None:
        self.name, self.root = name, root or os.environ.get("RUNS_DIR", "runs")
        self.tables: Tables = RecordSource(self.root, name).tables()

    def __repr__(self) -> str:
        states = ", ".join(f"{n} {status}" for status, n in self.runs.status.value_counts().items())
        return f"Study({self.name!r}: {states})"

    @property
    def runs(self) -> pd.DataFrame:
        """A row for each run: variant, condition, seed, status, parameters, test metrics, …"""
        return self.tables.runs

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each logged value: run_id, step, epoch, name, value, and variant, condition and seed."""
        return self._with_run(self.tables.metrics)

    @property
    def measurements(self) -> pd.DataFrame:
        """A row for each measurement of an instrument, likewise."""
        return self._with_run(self.tables.measurements)

    def _with_run(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.merge(self.runs[["run_id", "variant", "condition", "seed"]], on="run_id")

    @cached_property
    def comparison(self) -> Comparison:
        """The comparison of all variants, as the report has it; see `gatescope.analysis.comparison`."""
        from gatescope.analysis.comparison import compare

        return compare(self.tables)

    def compare(self, a: str, b: str) -> pd.DataFrame:
        """Compare two variants, or two runs.

        Args:
            a: A variant, such as "gru-none", or the id of a run.
            b: Another one.

        Returns:
            Of two variants a row for each condition: `condition`, `metric`, the means `a` and `b` over the
            seeds of both, their `difference` with its 95 % interval `low` to `high` (paired by seed,
            simultaneous over conditions), `p`, `n` and `verdict`. Of two runs their metrics: `A`, `B` and
            `B − A`.

        Raises:
            NoRuns: There is no such variant or run.
        """
        ids, variants = set(self.runs.run_id), sorted(set(self.runs.variant))
        if {a, b} <= ids:
            from gatescope.analysis.run_diff import RunDiff

            folder = Path(self.root) / self.name
            return RunDiff(folder / a, folder / b).metrics()
        for one in (a, b):
            if one not in variants:
                close = nearest(one, [*variants, *ids])
                hint = f"did you mean {close}?" if close else f"there are {', '.join(variants)}"
                raise NoRuns(f"{self.name} has no variant or run {one!r}: {hint}")
        return self._contrasts(a, b)

    def _contrasts(self, a: str, b: str) -> pd.DataFrame:
        import pandas as pd

        from gatescope.analysis.contrasts import paired_contrasts

        whole = self.comparison
        scores = {c: whole.scores[whole.primary, c] for c in whole.conditions}
        rows = []
        for one in paired_contrasts(scores, [(a, b)], whole.rules()):
            estimate = one.difference.estimate
            values = scores[one.condition]
            of_both = values[a].index.isin(list(one.difference.seeds))
            means = {"a": values[a][of_both].mean()}
            means["b"] = means["a"] - estimate.mean
            interval = {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}
            place = {"condition": one.condition, "metric": whole.primary}
            judged = {"p": one.adjusted_p, "n": estimate.n, "verdict": one.judgement}
            rows.append(place | means | interval | judged)
        if not rows:
            raise NoRuns(f"{self.name}: no condition has finished runs of both {a} and {b}")
        return pd.DataFrame(rows)
