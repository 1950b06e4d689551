"""Cohorts of traffic: the rows of the inference log by route and by window, counted without holding them.

What belongs here: whole-number counts of each route and quarter of an hour, and the cohorts that they add up to. What
does not: the log (``core.drift``), or comparing cohorts (``cohort_comparisons``).

Only the columns that are counted are read; rows are read in parts, so that a week takes the memory of one file. Labels
are looked up only where feedback came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.drift.feedback import TRUE_LABEL, FeedbackLog, answered_rows
from nethical_assets.core.drift.inference_log import AT, FINDINGS, LABEL, ROUTE, InferenceLog
from nethical_assets.core.drift.reference import PROBABILITY
from nethical_assets.core.drift.reliability import fixed_point_sums
from nethical_assets.core.drift.traffic_noise import MINIMUM_SUB_WINDOWS
from nethical_assets.core.evaluation.cohort_comparisons import MEASURES
from nethical_assets.core.evaluation.cohorts import (
    OTHER,
    TIERS,
    UNNAMED,
    Cohort,
    CohortCounts,
    CohortKind,
    CountedViolation,
    Severity,
    limited,
    risk_tiers,
)
from nethical_assets.core.evaluation.estimate import few_degrees_factor

IntArray = npt.NDArray[np.int64]
SLOT = timedelta(minutes=15)
"""Rows of one slot are counted together: how much slots differ says how alike rows are that follow each other."""
_LAGS = 8
_SLOT_NS = int(SLOT.total_seconds()) * 10**9
PERSONAL_DATA = "personal_data."
"""Before the kind of a finding, in the types of violations."""
(_ROWS, _CALLED, _LABELLED, _POSITIVES, _MISSED, _ALARMS, _FLAGGED, _RISK) = range(8)
_TIER = 8
_WIDTH = _TIER + len(TIERS)
_MAXIMUM_ROUTES = 256
"""Routes beyond these are counted as one: a name costs as much memory as its slots."""


@dataclass(frozen=True, eq=False)
class TrafficCounts:
    """Counts of routes and slots.

    Attributes:
        start: of the first slot, which is the beginning of the first window.
        hours: of a window.
        routes: in the order of the counts.
        counts: shape (routes, slots, figures).
        findings: kind -> rows that it was found in, shape (routes, windows).
    """

    start: datetime
    hours: int
    routes: tuple[str, ...]
    counts: IntArray
    findings: Mapping[str, IntArray]

    @property
    def rows(self) -> int:
        """Counted rows."""
        return int(self.counts[:, :, _ROWS].sum())

    @property
    def labelled(self) -> int:
        """Those of them whose label is known."""
        return int(self.counts[:, :, _LABELLED].sum())

    @property
    def windows(self) -> int:
        """How many windows there are, those without rows included."""
        return int(self.counts.shape[1] // self._slots_a_window)

    @property
    def _slots_a_window(self) -> int:
        return int(timedelta(hours=self.hours) / SLOT)

    def by_route(
        self, severity: Callable[[str], Severity], shown: Callable[[str], str] = lambda name: name
    ) -> tuple[Cohort, ...]:
        """One cohort a route, the rarest together as ``other``.

        Args:
            severity: of a finding of a kind.
            shown: by what name a route is told.
        """
        cohorts = [
            Cohort(
                kind="route",
                name=shown(route) or UNNAMED,
                counts=_counts_of(self.counts[number].sum(axis=0)),
                violations=_found({kind: int(rows[number].sum()) for kind, rows in self.findings.items()}, severity),
                by_time=self._by_time(self.counts[number]),
            )
            for number, route in enumerate(self.routes)
            if self.counts[number, :, _ROWS].any()
        ]
        effects = _effects("route", list(self.counts))
        return limited(replace(cohort, effects=effects) for cohort in cohorts)

    def by_window(self, severity: Callable[[str], Severity]) -> tuple[Cohort, ...]:
        """One cohort a window that has rows, in their order."""
        windows = self.counts.sum(axis=0).reshape(self.windows, self._slots_a_window, -1)
        effects = _effects("time_window", list(windows))
        return tuple(
            Cohort(
                kind="time_window",
                name=at,
                counts=_counts_of(slots.sum(axis=0)),
                at=at,
                effects=effects,
                violations=_found({kind: int(rows[:, number].sum()) for kind, rows in self.findings.items()}, severity),
            )
            for number, slots in enumerate(windows)
            if slots[:, _ROWS].any() and (at := self._begin(number))
        )

    @property
    def correlated(self) -> bool:
        """Whether there are slots enough to learn how alike rows are that follow each other."""
        filled = np.count_nonzero(self.counts[:, :, _ROWS], axis=1)
        return int((filled - 1).clip(min=0).sum()) >= MINIMUM_SUB_WINDOWS

    def _begin(self, window: int) -> str:
        return (self.start + window * timedelta(hours=self.hours)).isoformat()

    def _by_time(self, slots: IntArray) -> dict[str, int]:
        """Missed positives, false alarms and rows with findings of each window."""
        happened = slots[:, [_MISSED, _ALARMS, _FLAGGED]].sum(axis=1).reshape(self.windows, -1).sum(axis=1)
        return {self._begin(number): int(count) for number, count in enumerate(happened) if count}


def count_traffic(
    log: InferenceLog,
    feedback: FeedbackLog,
    family: str,
    model: str,
    since: datetime,
    until: datetime,
    *,
    hours: int,
) -> TrafficCounts | None:
    """What one model answered at or after ``since`` and before ``until``, by route and slot; None without any rows.

    Args:
        hours: of a window; a day has a whole number of them, and windows begin at midnight UTC.

    Raises:
        DatasetError: a time has no zone or the family's name is malformed.
        IntegrityError: a batch was changed or damaged on disk; the message names the file.
    """
    midnight = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    length = timedelta(hours=hours)
    start = midnight + (since - midnight) // length * length
    windows = max(1, -(-(until - start) // length))
    counter = _Counter(start, windows * int(length / SLOT), windows)
    for part in log.parts(family, since, model, until, columns=[AT, LABEL, ROUTE, PROBABILITY, FINDINGS]):
        counter.add(part.rows)
    if not counter.places:
        return None
    for answered in answered_rows(log, feedback, family, since, model, until, columns=[AT, LABEL, ROUTE]):
        counter.add_labels(answered.rows)
    return TrafficCounts(start, hours, tuple(counter.places), np.stack(counter.counts), counter.findings())


def slot_effect(cohorts: Sequence[tuple[Sequence[float], Sequence[int]]]) -> float:
    """How many rows are worth one independent row, at least 1, from how much the rates of the slots of one cohort
    differ: the variance of a ratio over clusters against that of independent rows (Kish 1965), over all cohorts of a
    kind together, with the price of knowing it from few slots (Korn and Graubard 1998). Slots that follow each other
    within two hours may be alike too (Newey and West 1987).

    Fewer than sixteen slots more than cohorts show too little: rows then count as independent.

    Args:
        cohorts: (how often it happened, rows) of the slots of each.
    """
    together, independent, degrees, filled = 0.0, 0.0, 0.0, 0
    for happened, rows in cohorts:
        sizes, counts = np.asarray(rows, dtype=np.float64), np.asarray(happened, dtype=np.float64)
        sizes, counts = sizes[sizes > 0], counts[sizes > 0]
        if len(sizes) < 2:
            continue
        rate = counts.sum() / sizes.sum()
        residual, count = counts - rate * sizes, len(sizes)
        lags = min(_LAGS, count // 3)
        weights = [1.0 - lag / (lags + 1) for lag in range(1, lags + 1)]
        own = float(residual @ residual)
        shared = sum(weight * float(residual[lag:] @ residual[:-lag]) for lag, weight in enumerate(weights, 1))
        # Deviations from their own mean add up to 0, which takes this much off the variance of independent slots.
        lost = sum(weight * (count - lag) for lag, weight in enumerate(weights, 1))
        share = 1.0 - 1.0 / count - 2.0 * lost / count**2
        together += own + 2.0 * shared
        independent += float(sizes.sum() * rate * (1.0 - rate)) * share
        degrees += (count - 1) * 1.5 / (lags + 1) if lags else count - 1
        filled += count - 1
    if filled < MINIMUM_SUB_WINDOWS or independent <= 0.0:
        return 1.0
    return max(1.0, together / independent) * few_degrees_factor(max(1.0, degrees)) ** 2


def _effects(kind: CohortKind, slots: Sequence[IntArray]) -> dict[str, float]:
    """The effect of each measure; ``slots``: shape (slots, figures) of each cohort of the kind."""
    each = [[_counts_of(slot) for slot in one[one[:, _ROWS] > 0]] for one in slots]
    return {
        measure.name: slot_effect(
            [([measure.happened(slot) for slot in one], [measure.rows(slot) for slot in one]) for one in each]
        )
        for measure in MEASURES
        if kind in measure.kinds
    }


def _found(findings: Mapping[str, int], severity: Callable[[str], Severity]) -> tuple[CountedViolation, ...]:
    return tuple(
        CountedViolation(f"{PERSONAL_DATA}{kind}", severity(kind), rows, of_rows=True)
        for kind, rows in sorted(findings.items())
        if rows
    )


class _Counter:
    """Counts while parts of a log pass by."""

    def __init__(self, start: datetime, slots: int, windows: int) -> None:
        self._start_ns = int(start.timestamp()) * 10**9
        self._slots, self._windows = slots, windows
        self.places: dict[str, int] = {}
        self.counts: list[IntArray] = []
        self._found: dict[str, dict[int, IntArray]] = {}

    def add(self, rows: pa.Table) -> None:
        """Count rows, and what was found in them."""
        routes, slots = self._routes(rows), self._slots_of(rows)
        probability = rows[PROBABILITY].to_numpy().astype(np.float64, copy=False)
        known = (probability >= 0.0) & (probability <= 1.0)
        called = _called(rows, probability)
        self._sum(routes, slots, _ROWS)
        self._sum(routes[called], slots[called], _CALLED)
        if FINDINGS in rows.column_names:
            self._add_findings(rows[FINDINGS].combine_chunks(), routes, slots)
        tiers = risk_tiers(probability)
        for tier in range(len(TIERS)):
            chosen = known & (tiers == tier)
            self._sum(routes[chosen], slots[chosen], _TIER + tier)
        keys = (routes * self._slots + slots)[known]
        sums = fixed_point_sums(keys, probability[known], len(self.counts) * self._slots)
        for number, part in enumerate(sums.reshape(len(self.counts), self._slots)):
            self.counts[number][:, _RISK] += part

    def add_labels(self, rows: pa.Table) -> None:
        """Count the answers whose labels came."""
        rows = rows.filter(rows[TRUE_LABEL].is_valid())
        if not len(rows):
            return
        routes, slots = self._routes(rows), self._slots_of(rows)
        positive = rows[TRUE_LABEL].to_numpy() == 1
        called = rows[LABEL].to_numpy() == 1
        for flags, figure in (
            (np.ones(len(rows), dtype=bool), _LABELLED),
            (positive, _POSITIVES),
            (positive & ~called, _MISSED),
            (~positive & called, _ALARMS),
        ):
            self._sum(routes[flags], slots[flags], figure)

    def findings(self) -> dict[str, IntArray]:
        """Kind -> rows that it was found in, shape (routes, windows)."""
        nothing = np.zeros(self._windows, dtype=np.int64)
        return {
            kind: np.stack([found.get(number, nothing) for number in range(len(self.counts))])
            for kind, found in sorted(self._found.items())
        }

    def _add_findings(self, findings: pa.MapArray, routes: IntArray, slots: IntArray) -> None:
        lengths = np.diff(findings.offsets.to_numpy()) * np.asarray(findings.is_valid())
        flagged = lengths > 0
        if not flagged.any():
            return
        self._sum(routes[flagged], slots[flagged], _FLAGGED)
        first, last = findings.offsets[0].as_py(), findings.offsets[-1].as_py()
        kinds = findings.keys.slice(first, last - first).dictionary_encode()
        owners = np.repeat(np.arange(len(lengths)), np.diff(findings.offsets.to_numpy()))
        codes, per_window = kinds.indices.to_numpy(), self._slots // self._windows
        for code, kind in enumerate(kinds.dictionary.to_pylist()):
            of_kind = owners[codes == code]
            for number in np.unique(routes[of_kind]):
                windows = slots[of_kind[routes[of_kind] == number]] // per_window
                known = self._found.setdefault(kind, {})
                counted = np.bincount(windows, minlength=self._windows)
                known[int(number)] = known.get(int(number), np.zeros(self._windows, dtype=np.int64)) + counted

    def _routes(self, rows: pa.Table) -> IntArray:
        """The number of each row's route; rows of older versions have none."""
        if ROUTE not in rows.column_names:
            return np.full(len(rows), self._place(""), dtype=np.int64)
        encoded = pc.fill_null(rows[ROUTE], "").combine_chunks().dictionary_encode()
        places = np.array([self._place(route) for route in encoded.dictionary.to_pylist()], dtype=np.int64)
        return np.asarray(places[encoded.indices.to_numpy()])

    def _place(self, route: str) -> int:
        if route not in self.places and len(self.places) >= _MAXIMUM_ROUTES:
            route = OTHER
        if route not in self.places:
            self.places[route] = len(self.counts)
            self.counts.append(np.zeros((self._slots, _WIDTH), dtype=np.int64))
        return self.places[route]

    def _slots_of(self, rows: pa.Table) -> IntArray:
        return np.asarray((rows[AT].cast(pa.int64()).to_numpy() - self._start_ns) // _SLOT_NS)

    def _sum(self, routes: IntArray, slots: IntArray, figure: int) -> None:
        counted = np.bincount(routes * self._slots + slots, minlength=len(self.counts) * self._slots)
        for number, part in enumerate(counted.reshape(len(self.counts), self._slots)):
            self.counts[number][:, figure] += part


def _called(rows: pa.Table, probability: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which rows were called positive: by their label, in batches of older versions by their probability."""
    from nethical_assets.core.models.loading import DECISION_THRESHOLD

    if LABEL not in rows.column_names:
        return probability >= DECISION_THRESHOLD
    return np.asarray(pc.fill_null(rows[LABEL], 0).to_numpy() == 1)


def _counts_of(figures: IntArray) -> CohortCounts:
    low, normal, high, elevated = figures[_TIER:].tolist()
    return CohortCounts(
        rows=int(figures[_ROWS]),
        called_positive=int(figures[_CALLED]),
        labelled=int(figures[_LABELLED]),
        labelled_positives=int(figures[_POSITIVES]),
        missed=int(figures[_MISSED]),
        false_alarms=int(figures[_ALARMS]),
        tiers=(low, normal, high, elevated),
        risk_sum=int(figures[_RISK]),
        flagged=int(figures[_FLAGGED]),
    )
