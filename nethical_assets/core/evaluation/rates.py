"""Whether something happens to one group of rows more often than to another.

What belongs here: the three-valued comparison of rates of groups. What does not: what is counted, or what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from nethical_assets.core.drift.statistics.rate_homogeneity import rate_homogeneity
from nethical_assets.core.evaluation.estimate import CONFIDENCE, clopper_pearson

Verdict = Literal["pass", "fail", "needs_more_data"]


@dataclass(frozen=True)
class RateComparison:
    """How far apart the highest and the lowest rate of some groups are.

    ``difference`` is the measured one; the true one lies between ``smallest`` and ``largest`` (95 % over all groups
    together, or as asked for); all in [0, 1]. ``rows`` are those of all compared groups; ``reason`` is one sentence.
    ``p_value``: the chance of rates as different as these if they were one rate; None where nothing was compared. It
    decides nothing: a difference may be real and small.
    """

    verdict: Verdict
    difference: float
    smallest: float
    largest: float
    maximum: float
    rows: int
    reason: str
    p_value: float | None = None


def compare_rates(
    counts: Mapping[str, tuple[float, int]],
    *,
    maximum_difference: float,
    event: str,
    design_effects: Mapping[str, float] | None = None,
    confidence: float = CONFIDENCE,
    of_rows: bool = True,
) -> RateComparison:
    """Judge (how often it happened, rows) of each group; a group without rows is left out.

    The exact intervals of the rates bound the difference between the highest and the lowest: above the maximum for
    certain fails, not above it for certain passes, anything else needs more rows. Each interval has the confidence that
    makes all of them hold together, since the extremes of many groups are picked after looking.

    Args:
        maximum_difference: by how much rates may differ, in [0, 1].
        event: what is counted, as in "rows of b are ``event`` ..."; goes into the reason.
        design_effects: how many times fewer independent rows the rows of a group are worth, 1 where it is not named.
        confidence: with which all intervals hold together.
        of_rows: whether it happened to whole rows. Else it is a mean of numbers in [0, 1], whose variance is at most
            that of such a share (Bhatia and Davis 2000), so that the interval of the share is wide enough.

    Raises:
        ValueError: more happened than there are rows.
    """
    groups = {name: count for name, count in counts.items() if count[1] > 0}
    rows = sum(total for _, total in groups.values())
    if len(groups) < 2:
        reason = f"{event}: fewer than two groups have rows, so there is nothing to compare"
        return RateComparison("needs_more_data", 0.0, 0.0, 1.0, maximum_difference, rows, reason)
    single = 1.0 - (1.0 - confidence) / len(groups)
    rates = {name: happened / total for name, (happened, total) in groups.items()}
    effects = {name: (design_effects or {}).get(name, 1.0) for name in groups}
    intervals = {name: _interval(*count, effects[name], single) for name, count in groups.items()}
    most, least = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
    smallest = max(0.0, max(low for low, _ in intervals.values()) - min(high for _, high in intervals.values()))
    largest = max(high for _, high in intervals.values()) - min(low for low, _ in intervals.values())
    said = f"{event}: {rates[most]:.2%} of the rows of {most}, {rates[least]:.2%} of {least}"
    if not of_rows:
        said = f"{event}: {rates[most]:.3f} in {most}, {rates[least]:.3f} in {least}"
    judged = judge_difference(
        rates[most] - rates[least], smallest, largest, maximum_difference=maximum_difference, rows=rows, said=said
    )
    happened, totals = zip(*groups.values(), strict=True)
    return replace(judged, p_value=rate_homogeneity(happened, totals, list(effects.values())))


def _interval(happened: float, rows: int, design_effect: float, confidence: float) -> tuple[float, float]:
    if happened > rows:
        raise ValueError(f"{happened} successes of {rows} trials")
    return clopper_pearson(happened / design_effect, rows / design_effect, confidence)


def judge_difference(
    difference: float, smallest: float, largest: float, *, maximum_difference: float, rows: int, said: str
) -> RateComparison:
    """The verdict on a difference that lies between ``smallest`` and ``largest``; ``said`` opens its reason."""
    verdict: Verdict
    if smallest > maximum_difference:
        verdict, comparison = "fail", "certainly more"
    elif largest <= maximum_difference:
        verdict, comparison = "pass", "certainly not more"
    else:
        verdict, comparison = "needs_more_data", "not certain to be more or less"
    reason = f"{said}; the difference is {comparison} than {maximum_difference:.0%}"
    return RateComparison(verdict, difference, smallest, largest, maximum_difference, rows, reason)
