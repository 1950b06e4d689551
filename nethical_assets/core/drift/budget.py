"""One budget of false alerts for everything that is watched, spent test by test.

What belongs here: the level of the next test, and the entries that say what was spent. What does not: p-values
(``statistics``), or where the ledger is kept (``home``).

The procedure is alpha-spending for the per-family error rate, the expected number of false rejections (Spjotvoll
1972; spending: Foster and Stine 2008): a null hypothesis that is tested at level a adds at most a to the expected
number of false alerts, whatever the other tests are, so levels that add up to the budget keep it. Procedures for the
false discovery rate or for one error at all, such as ADDIS-spending (Tian and Ramdas 2021), give more power only with
p-values that are independent or nearly so, and keep a rate that says nothing about nights. Windows overlap, columns
move together and families see the same clients: what holds under any dependence is worth the little power it costs. At
levels of 1e-5 another factor of two moves the limit by 4 %.

A level goes to all monitors of a period together (Holm's correction shares it among them). What a window has left is
not carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from nethical_assets.core.ground.errors import DatasetError

YEAR = timedelta(days=365)
Period = Literal["window", "trailing"]
"""What is judged of a window: itself, and the longer time that ends with it."""


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        false_alerts_a_year: the expected number of windows, of all families together, that are called changed or
            drifted in a year without a change; above 0.
        families: how many families are watched.
        windows_a_year: how many periods of a family are judged in a year: windows, and trailing periods where they are
            judged too.
    """

    false_alerts_a_year: float
    families: int
    windows_a_year: int

    @property
    def share(self) -> float:
        """What one period of one window of one family may spend over all its looks, at most 1."""
        return min(1.0, self.false_alerts_a_year / (self.families * self.windows_a_year))


@dataclass(frozen=True)
class Spending:
    """One entry of the ledger.

    Attributes:
        window: the beginning of the window, an ISO time in UTC.
        evidence: digest of what was judged.
        look: 1 for the first judgement of the window's period, 2 for the next on other evidence.
        level: what was spent: the judgement's level.
        period: which one was judged.
        measured: digest of what was measured of the evidence, which stands for every later judgement of it. Empty where
            it is not kept.
    """

    family: str
    window: str
    evidence: str
    look: int
    level: float
    period: Period = "window"
    measured: str = ""


def spend(
    ledger: Sequence[Spending],
    budget: Budget,
    family: str,
    window: datetime,
    evidence: str,
    *,
    period: Period = "window",
    measured: str = "",
) -> Spending:
    """The entry of a judgement: one of the ledger when the same evidence was judged before, else one to be added.

    The n-th look at a period of a window has a level of its share divided by 2^n, so all looks together spend the share
    once, however often late labels come. No period of a year that the window is in ever spends more than the budget,
    also when families are added or windows judged late; then the level is what is left, perhaps 0. A window that needs
    more data, or had no traffic, is not asked for and spends nothing.

    Args:
        ledger: the entries so far, in any order.
        window: its beginning, with a time zone.
        evidence: digest of what is judged (``monitors.WindowMeasurements.evidence``).
        measured: digest of what was measured of it, for the new entry.

    Raises:
        DatasetError: the window's time has no zone.
    """
    if window.tzinfo is None:
        raise DatasetError(f"window {window.isoformat()} has no time zone; give its beginning in UTC")
    moment = window.astimezone(UTC)
    name = moment.isoformat()
    looks = [entry for entry in ledger if (entry.family, entry.window, entry.period) == (family, name, period)]
    for entry in looks:
        if entry.evidence == evidence:
            return entry
    left = max(0.0, budget.false_alerts_a_year - _most_spent(ledger, moment))
    number = len(looks) + 1
    return Spending(family, name, evidence, number, min(budget.share / 2.0**number, left), period, measured)


def spent(ledger: Iterable[Spending], until: datetime) -> float:
    """What windows that began in the year before ``until`` spent."""
    return sum(entry.level for entry in ledger if until - YEAR < datetime.fromisoformat(entry.window) <= until)


def _most_spent(ledger: Iterable[Spending], moment: datetime) -> float:
    """The most that any period of a year with ``moment`` in it has spent."""
    near = sorted(
        (began, entry.level) for entry in ledger if abs((began := datetime.fromisoformat(entry.window)) - moment) < YEAR
    )
    most = total = 0.0
    first = 0
    for position, (began, level) in enumerate(near):
        total += level
        while near[first][0] <= began - YEAR:
            total -= near[first][1]
            first += 1
        # A period that ends here has the moment in it once it reaches so far; before that, the next ones have more.
        if began >= moment or position == len(near) - 1 or near[position + 1][0] > moment:
            most = max(most, total)
    return most
