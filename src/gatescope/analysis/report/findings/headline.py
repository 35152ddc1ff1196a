"""The title of a report, and the sentences under it: what a comparison of variants has found.

Each clause follows from a verdict; a clause without a verdict says that there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatescope.analysis import contrasts, style, words
from gatescope.analysis.comparison import Comparison
from gatescope.analysis.contrasts import Contrast
from gatescope.analysis.report.findings import headline_conditions as conditions
from gatescope.analysis.report.findings.headline_conditions import extreme, is_worse
from gatescope.analysis.report.numbers import interval, join_words, number
from gatescope.analysis.statistics import AHEAD, BEHIND, EQUIVALENT, MIN_SEEDS, TOO_FEW_SEEDS, UNDECIDED

MAX_NAMED = 4
"""Most variants that a sentence names one by one."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def title(comparison: Comparison) -> str:
    """Return what was found in a sentence without its full stop, the most important clause first."""
    known = [c for c in comparison.conditions if c in comparison.leaders]
    if not known:
        return f"No run has a finite {words.metric(comparison.primary)}"
    if len(known) > 1:
        clauses = conditions.clauses(comparison, known)
    else:
        bar = _bar(comparison, known[0])
        others = [_leader(comparison, known[0]), _attention(comparison, known[0])]
        first = bar.startswith(_bar_name(comparison, known[0]))  # no network is ahead of it
        clauses = [bar, *others] if first else [*others, bar]
    return words.capital("; ".join(filter(None, clauses)))


def sentences(comparison: Comparison) -> str:
    """Return about three sentences with the numbers of the title."""
    known = [c for c in comparison.conditions if c in comparison.leaders]
    if not known:
        return f"No run has a finite {words.metric(comparison.primary)}."
    if len(known) > 1:
        parts = conditions.sentences(comparison, known)
    else:
        condition = known[0]
        parts = [
            _best(comparison, condition),
            _against_others(comparison, condition),
            _attention_numbers(comparison, condition),
        ]
    return " ".join(filter(None, parts))


def count_words(count: int) -> str:
    """Return a small number as a word."""
    return COUNTS[count] if count < len(COUNTS) else f"{count:,}"


def bars(comparison: Comparison) -> dict[str, str]:
    """Return the best network, the baseline and the published results as text, for the list of reports.

    They are given for a study with one condition; with several, the title says on how many the baseline wins.
    """
    known = [c for c in comparison.conditions if c in comparison.leaders]
    if len(known) != 1:
        return {}
    leader = comparison.leaders[known[0]].variant
    mean = interval(comparison.summary(leader, known[0]).metrics[comparison.primary])
    found = {"metric": words.metric(comparison.primary), "best": f"{words.prose(leader)}: {mean}"}
    if baseline := comparison.baselines.get(known[0]):
        found["baseline"] = f"{words.prose(baseline.name)}: {number(baseline.value)}"
    if texts := published(comparison):
        found["published"] = "; ".join(texts)
    return found


def _bar_name(comparison: Comparison, condition: str) -> str:
    baseline = comparison.baselines.get(condition)
    return words.prose(baseline.name) if baseline else "\0"


def _bar(comparison: Comparison, condition: str) -> str:
    """Return the clause on the baseline; it begins with the baseline where no network is ahead of it."""
    baseline = comparison.baselines.get(condition)
    judged = comparison.baseline_contrasts.get(condition, ())
    if baseline is None or not judged:
        return ""
    name, verdicts = _bar_name(comparison, condition), [one.verdict for one in judged]
    every = "the network" if len(judged) == 1 else _all(len(judged), "networks")
    if all(verdict == BEHIND for verdict in verdicts):
        return f"{name} beats {every}"
    if all(is_worse(comparison, one) for one in judged):
        return f"{name} has a better mean than {every}"
    ahead = verdicts.count(AHEAD)
    if ahead == len(judged):
        return f"{every} {'beats' if ahead == 1 else 'beat'} {name}"
    if ahead:
        return f"{count_words(ahead)} of {count_words(len(judged))} networks beat {name}"
    return f"no network is shown to beat {name}"


def _leader(comparison: Comparison, condition: str) -> str:
    """Return the clause on the best variant; a variant that is not ahead of all others is no winner."""
    leader = comparison.leaders[condition]
    name = words.prose(leader.variant)
    if not leader.contrasts:
        mean = interval(comparison.summary(leader.variant, condition).metrics[comparison.primary])
        return f"{name} reaches a {words.metric(comparison.primary)} of {mean}"
    if any(one.verdict == TOO_FEW_SEEDS for one in leader.contrasts):
        return f"{name} has the {extreme(comparison)} mean, with too few {comparison.unit}s for a verdict"
    level = [one for one in leader.contrasts if one.verdict != AHEAD]
    if not level:
        return f"{name} is ahead of {_all_others(len(leader.contrasts))}"
    every = [leader.variant, *(one.reference for one in leader.contrasts)]
    names = words.group([leader.variant, *(one.reference for one in level)], every)
    if len(level) == len(leader.contrasts):
        names = [f"the {count_words(len(every))} variants"]
    if all(one.verdict == EQUIVALENT for one in level):
        return f"{join_words(names)} tie"
    return f"no winner {'between' if len(names) == 2 else 'among'} {join_words(names)}"


def _all_others(count: int) -> str:
    return "the other" if count == 1 else _all(count, "others")


def _all(count: int, what: str) -> str:
    """Return "both networks" or "all six networks"."""
    return f"both {what}" if count == 2 else f"all {count_words(count)} {what}"


def attention_contrasts(comparison: Comparison, condition: str) -> tuple[Contrast, ...]:
    """Return each variant with attention against the same cell without it; one family."""
    scores = comparison.scores[comparison.primary, condition]
    pairs = [
        (variant, plain)
        for variant in style.order(scores)
        if style.split(variant)[1] != "none" and (plain := f"{style.split(variant)[0]}-none") in scores
    ]
    return contrasts.paired_contrasts({condition: scores}, pairs, comparison.rules())


def _attention(comparison: Comparison, condition: str) -> str:
    judged = attention_contrasts(comparison, condition)
    if not judged or any(one.verdict == TOO_FEW_SEEDS for one in judged):
        return ""
    helped = [one.variant for one in judged if one.verdict == AHEAD]
    harmed = [one.variant for one in judged if one.verdict == BEHIND]
    several = len({style.split(one.variant)[1] for one in judged}) > 1

    def names(variants: Sequence[str]) -> str:
        cells = [words.prose(v if several else style.split(v)[0]) for v in variants]
        return join_words(dict.fromkeys(cells))

    if not helped and not harmed:
        return "no effect of attention is shown"
    parts = [f"attention harms {names(harmed)}"] if harmed else []
    if len(helped) == len(judged):
        parts.append("attention helps every cell")
    elif helped:
        parts.append(f"attention helps only {names(helped)}")
    return " and ".join(parts)


def _attention_numbers(comparison: Comparison, condition: str) -> str:
    judged = attention_contrasts(comparison, condition)
    if not judged:
        return ""
    several = len({style.split(one.variant)[1] for one in judged}) > 1
    parts = [
        f"{words.prose(one.variant if several else style.split(one.variant)[0])} "
        f"{interval(one.difference.estimate, sign=True)}"
        + ("" if one.holds else f" ({one.verdict.replace('seeds', f'{comparison.unit}s')})")
        for one in judged
    ]
    return f"Attention changes the {words.metric(comparison.primary)} of {join_words(parts)}."


def _best(comparison: Comparison, condition: str) -> str:
    """Return the sentence with the best mean, its baseline and published results."""
    leader = comparison.leaders[condition].variant
    summary = comparison.summary(leader, condition)
    text = (
        f"{words.prose(leader)} has the {extreme(comparison)} mean {words.metric(comparison.primary)}, "
        f"{interval(summary.metrics[comparison.primary])} over {summary.n} {comparison.unit}"
        f"{'s' if summary.n != 1 else ''}"
    )
    if baseline := comparison.baselines.get(condition):
        text += f"; {words.prose(baseline.name)} reaches {number(baseline.value)}"
        own = [one for one in comparison.baseline_contrasts[condition] if one.variant == leader]
        text += f" (difference {interval(own[0].difference.estimate, sign=True)})" if own else ""
    text += "".join(f"; published: {text}" for text in published(comparison))
    return text + "."


def published(comparison: Comparison) -> list[str]:
    """Return what others report, such as "LSTM 0.772 (Somebody 2020)"."""
    return [
        f"{words.prose(str(one['model']))} {number(float(one['value']))} ({one['source']})"
        for one in comparison.study.get("published") or []
    ]


def _against_others(comparison: Comparison, condition: str) -> str:
    """Return the sentence on the best variant against each other one."""
    leader = comparison.leaders[condition]
    if not leader.contrasts:
        return ""
    ahead = [one for one in leader.contrasts if one.verdict == AHEAD]
    if any(one.verdict == TOO_FEW_SEEDS for one in leader.contrasts):
        return f"Fewer than {MIN_SEEDS} {comparison.unit}s decide nothing between variants."
    text = f"It is ahead of {_references(ahead)}" if ahead else "It is ahead of no other variant"
    undecided = [one for one in leader.contrasts if one.verdict == UNDECIDED]
    if undecided:
        text += f"; undecided against {_references(undecided)}"
    if equal := [one for one in leader.contrasts if one.verdict == EQUIVALENT]:
        text += f"; equivalent within the margin to {_references(equal)}"
    needed = [one.seeds_needed for one in undecided if one.seeds_needed is not None]
    if needed and comparison.unit == "seed":
        text += f", of which about {min(needed)} seeds would decide the clearest"
    return text + "."


def _references(judged: Sequence[Contrast]) -> str:
    """Return the variants that one is compared with, or their number; the findings in detail name all."""
    if len(judged) > MAX_NAMED:
        return f"{count_words(len(judged))} others"
    return join_words(
        f"{words.prose(one.reference)} ({interval(one.difference.estimate, sign=True)})" for one in judged
    )
