"""The title and sentences of a comparison under several conditions, or of a sweep over other keys."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gatescope.analysis import words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.report.numbers import interval, join_words, number
from gatescope.analysis.statistics import AHEAD, BEHIND, NO_SPREAD, TOO_FEW_SEEDS


def clauses(comparison: Comparison, known: Sequence[str]) -> list[str]:
    """Return the clauses of the title: the baseline where it wins, then the leaders."""
    return [_bars_over(comparison, known), _leaders_over(comparison, known)]


def sentences(comparison: Comparison, known: Sequence[str]) -> list[str]:
    """Return the best mean, the counts of verdicts, and the baseline."""
    return [_best_overall(comparison, known), _verdicts_over(comparison), *_bar_over(comparison)]


def is_worse(comparison: Comparison, one: Contrast) -> bool:
    """Return whether the mean of a variant is worse than what it is compared with."""
    mean = one.difference.estimate.mean
    return mean < 0 if comparison.higher_is_better else mean > 0


def extreme(comparison: Comparison) -> str:
    """Return "highest" or "lowest", whichever is better."""
    return "highest" if comparison.higher_is_better else "lowest"


def _bars_over(comparison: Comparison, conditions: Sequence[str]) -> str:
    """Return the clause on the number of conditions on which the baseline has the best mean."""
    found = [comparison.baseline_contrasts[c] for c in conditions if comparison.baseline_contrasts.get(c)]
    worse = sum(all(is_worse(comparison, one) for one in judged) for judged in found)
    if not worse:
        return ""
    where = words.under(conditions, f"{worse} of {len(found)}")
    return f"the baseline has a better mean than every network {where}"


def _leaders_over(comparison: Comparison, conditions: Sequence[str]) -> str:
    """Return the clause on the variants that are ahead of all others under some conditions."""
    leaders = {c: comparison.leaders[c] for c in conditions}
    if not any(one.contrasts for one in leaders.values()):
        best = _best_condition(comparison, conditions)
        return (
            f"{words.condition(best)} has the {extreme(comparison)} mean {words.metric(comparison.primary)}"
        )
    if all(any(one.verdict == TOO_FEW_SEEDS for one in leader.contrasts) for leader in leaders.values()):
        counts = Counter(leader.variant for leader in leaders.values())
        variant, wins = counts.most_common(1)[0]
        return (
            f"{words.prose(variant)} has the best mean {words.under(conditions, f'{wins} of {len(leaders)}')}"
            f", with too few {comparison.unit}s for a verdict"
        )
    won = Counter(leader.variant for leader in leaders.values() if leader.ahead_of_all)
    if not won:
        return _without_winner(comparison, conditions)
    parts = [
        f"{words.prose(variant)} is ahead of all others {words.under(conditions, f'{n} of {len(leaders)}')}"
        for variant, n in won.items()
    ]
    rest = len(leaders) - sum(won.values())
    return "; ".join(parts) + (f"; the other {rest} have no winner" if rest else "")


def _without_winner(comparison: Comparison, conditions: Sequence[str]) -> str:
    """Return the clause on the variants that are ahead of the reference under all conditions, or lead."""
    others = list(dict.fromkeys(one.variant for one in comparison.contrasts))
    always = [
        name
        for name in others
        if all(one.verdict == AHEAD for one in comparison.contrasts if one.variant == name)
    ]
    if not always:
        leading = {comparison.leaders[c].variant for c in conditions}
        none = words.under(conditions, f"any of {len(conditions)}")
        if len(leading) > 1:
            return f"no variant is ahead of all others {none}"
        where = words.under(conditions)
        return (
            f"{words.prose(leading.pop())} has the {extreme(comparison)} mean {where}, but is never shown to "
            "be ahead of all others"
        )
    names = words.group(always, comparison.variants)
    them = "" if len(always) == 1 else f"; no winner {'between' if len(always) == 2 else 'among'} them"
    reference = words.prose(comparison.reference)
    return (
        f"{join_words(names)} {'is' if len(always) == 1 else 'are'} ahead of {reference} "
        f"{words.under(conditions)}{them}"
    )


def _best_condition(comparison: Comparison, conditions: Sequence[str]) -> str:
    sign = 1 if comparison.higher_is_better else -1

    def mean(condition: str) -> float:
        leader = comparison.leaders[condition].variant
        value = comparison.summary(leader, condition).metrics[comparison.primary].mean
        return -math.inf if math.isnan(value) else sign * value

    return max(conditions, key=mean)


def _best_overall(comparison: Comparison, conditions: Sequence[str]) -> str:
    best = _best_condition(comparison, conditions)
    leader = comparison.leaders[best].variant
    mean = interval(comparison.summary(leader, best).metrics[comparison.primary])
    return (
        f"The {extreme(comparison)} mean {words.metric(comparison.primary)} is {mean}, of "
        f"{words.prose(leader)} {words.at(best)}. It is the best of {len(comparison.summaries)} means, so "
        "that part of its lead may be luck."
    )


def _verdicts_over(comparison: Comparison) -> str:
    """Return the sentence on how the comparisons of all conditions with the reference ended."""
    if not comparison.contrasts:
        return ""
    parts = []
    for verdict, n in Counter(one.verdict for one in comparison.contrasts).items():
        if verdict in (AHEAD, BEHIND):
            parts.append(f"{n} find{'s' if n == 1 else ''} the other variant {verdict}")
        elif verdict in (TOO_FEW_SEEDS, NO_SPREAD):
            parts.append(f"{n} {'has' if n == 1 else 'have'} {verdict}")
        else:
            parts.append(f"{n} {'is' if n == 1 else 'are'} {verdict}")
    reference = words.prose(comparison.reference)
    return f"Of {len(comparison.contrasts)} comparisons with {reference}, {join_words(parts)}."


def _bar_over(comparison: Comparison) -> list[str]:
    values = {baseline.name for baseline in comparison.baselines.values()}
    if len(values) != 1:
        return []
    numbers = sorted({baseline.value for baseline in comparison.baselines.values()})
    span = number(numbers[0]) if len(numbers) == 1 else f"{number(numbers[0])} to {number(numbers[-1])}"
    return [f"{words.capital(words.prose(values.pop()))} reaches {span}."]
