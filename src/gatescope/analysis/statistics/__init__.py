"""Statistics of results over seeds, on plain arrays and DataFrames.

One value per seed goes in; means with confidence intervals, paired comparisons and p values adjusted for
multiple comparisons come out. The seed is the unit of every interval. No function here needs a record of a
run, so that they serve results from anywhere:

>>> import pandas as pd
>>> from gatescope.analysis import statistics
>>> accuracy = pd.DataFrame(  # a row per seed, a column per variant
...     {"gru": [0.81, 0.83, 0.80, 0.84, 0.82],
...      "lstm": [0.80, 0.82, 0.80, 0.83, 0.80],
...      "rnn": [0.70, 0.74, 0.71, 0.72, 0.69]},
...     index=[0, 1, 2, 3, 4],
... )
>>> statistics.summarize(accuracy).round(3)
       mean    low   high  n
gru   0.820  0.800  0.840  5
lstm  0.810  0.792  0.828  5
rnn   0.712  0.688  0.736  5
>>> table = statistics.compare_with_reference(accuracy, reference="rnn")
>>> table[["mean", "low", "high", "p", "verdict"]].round(4)
       mean     low    high       p verdict
gru   0.108  0.0800  0.1360  0.0003   ahead
lstm  0.098  0.0776  0.1184  0.0001   ahead
>>> difference = statistics.paired_difference(accuracy["gru"], accuracy["lstm"])
>>> round(difference.estimate.mean, 3), round(difference.p, 4)
(0.01, 0.0341)

Values of the folds of a cross-validation are not independent, as their training sets overlap. `overlap` is
then the ratio of test to other examples, 1 / (k − 1) for k folds, and the variance of a mean of n values is
taken as (1 / n + overlap) · s² (Nadeau & Bengio 2003); 0, the default, is for independent values.

docs/statistics.md explains which method answers which question. Sources: P(A > B), Bouthillier et al. 2021;
two one-sided tests, Schuirmann 1987; degrees of freedom of a sum of variances, Satterthwaite 1946;
interquartile mean, Agarwal et al. 2021; expected best of k trials, Dodge et al. 2019 and Tang et al. 2020.
"""

from gatescope.analysis.statistics.aggregates import expected_best, interquartile_mean, missing_combinations
from gatescope.analysis.statistics.differences import (
    PairedDifference,
    paired_difference,
    superiority,
)
from gatescope.analysis.statistics.estimates import (
    LEVEL,
    LEVEL_TEXT,
    MIN_SEEDS,
    ROUNDING,
    Estimate,
    ItemVariance,
    geometric_interval,
    geometric_intervals,
    mean_interval,
    mean_intervals,
    standard_error,
    summarize,
)
from gatescope.analysis.statistics.families import Family, compare_family, compare_with_reference
from gatescope.analysis.statistics.verdicts import (
    AHEAD,
    BEHIND,
    EQUIVALENT,
    MOST_SEEDS,
    NO_SPREAD,
    POWER,
    TOO_FEW_SEEDS,
    UNDECIDED,
    is_within,
    seeds_to_decide,
    verdict,
)

__all__ = [
    "AHEAD",
    "BEHIND",
    "EQUIVALENT",
    "LEVEL",
    "LEVEL_TEXT",
    "MIN_SEEDS",
    "MOST_SEEDS",
    "NO_SPREAD",
    "POWER",
    "ROUNDING",
    "TOO_FEW_SEEDS",
    "UNDECIDED",
    "Estimate",
    "Family",
    "ItemVariance",
    "PairedDifference",
    "compare_family",
    "compare_with_reference",
    "expected_best",
    "geometric_interval",
    "geometric_intervals",
    "interquartile_mean",
    "is_within",
    "mean_interval",
    "mean_intervals",
    "missing_combinations",
    "paired_difference",
    "seeds_to_decide",
    "standard_error",
    "summarize",
    "superiority",
    "verdict",
]
