"""Which judgements of a simulated year cannot have a p-value below a bound: all windows at once, from running sums.

What belongs here: a lower bound of every p-value that the product would give. What does not: judgements; those are the
product's own (``simulated_year``), and are made wherever the bound does not rule a small p-value out.

Why nothing is hidden: the covariances are those of ``traffic_noise.block_noise`` in another order of summation. Sums
over pairs of sub-windows are added up once for each window and its neighbour, and a period's are differences of running
totals. Left out is that negative eigenvalues become 0 there, which only adds to a covariance; so every variance and
every eigenvalue here is at most the product's, no statistic is smaller, and no p-value larger. Where the product takes
the larger one of two p-values (permutations, Fisher), one of them is taken here. Where the mean of a weighted sum of
chi-squares is not exceeded, its tail is above 0.15 whatever the weights, and is not computed: it is at least 0.317 at
the mean (Szekely and Bakirov 2003), and the chi-square that it is divided by is below its own mean in more than half of
all cases. Tails are approximated as the product does it; ``simulated_check`` holds both against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.simulated_traffic import SUB_WINDOWS, Traffic
from nethical_assets.core.drift.reference import PROBABILITY, Reference
from nethical_assets.core.drift.reliability import FIXED_POINT, Reliability, called_positive
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence

_GROUPS = 512
_TERMS = 200


@dataclass(frozen=True, eq=False)
class Periods:
    """Periods by the numbers of windows, arrays of shape (periods,): learnt from ``before`` on, judged from ``start``
    to before ``end``."""

    before: np.ndarray
    start: np.ndarray
    end: np.ndarray


@dataclass(frozen=True, eq=False)
class Covariances:
    """Of the totals of one row, shape (periods, k, k), with so many degrees of freedom, shape (periods,)."""

    matrix: np.ndarray
    degrees: np.ndarray


class Screen:
    """The running totals of a traffic, and what follows from them for any periods."""

    def __init__(self, reference: Reference, traffic: Traffic, minimum_labelled_rows: int) -> None:
        totals = traffic.totals
        self.reference, self.traffic, self.minimum_labelled_rows = reference, traffic, minimum_labelled_rows
        self.rows = totals.rows
        self.labelled = totals.labelled_rows.sum(axis=1)
        called = called_positive(reference.decision_threshold)
        known = reference.reliability
        assert known is not None
        self.known: Reliability = known
        right = Confidence.of(known, reference.decision_threshold).right
        self.confidence = right(totals.bin_rows, totals.bin_sums / FIXED_POINT).sum(axis=1)
        self.correct = np.where(
            called, totals.labelled_positives, totals.labelled_rows - totals.labelled_positives
        ).sum(axis=1)
        self.gaps = totals.labelled_positives - totals.labelled_sums / FIXED_POINT

    def smallest(self, periods: Periods) -> np.ndarray:
        """At most the smallest p-value of each period where that is below 0.15, shape (periods,)."""
        found = [
            self._positive_rate(periods),
            self._accuracy(periods),
            self._calibration(periods),
            self._estimated(periods),
        ]
        for column in self.reference.columns:
            counts = self.traffic.totals.columns[column.name]
            noise = covariances(counts, self.rows, periods)
            own, window = column.own_histogram(), sums(counts, periods)
            found.append(_distance(own, window, noise))
            found.append(np.where(window[:, own == 0].sum(axis=1) > 0, 0.0, 1.0))
            if column.name == PROBABILITY:
                found.append(self._kolmogorov_smirnov(own, window, noise, periods))
        return np.min(found, axis=0)

    def confidence_noise(self, periods: Periods) -> Covariances:
        """What ``TrafficNoise.confidence`` is, of each period."""
        return covariances(self.confidence, self.rows, periods)

    def _positive_rate(self, periods: Periods) -> np.ndarray:
        noise = covariances(self.traffic.totals.positives, self.rows, periods)
        happened, rows = (sums(values, periods)[:, 0] for values in (self.traffic.totals.positives, self.rows))
        return _rate(self.reference.positives, self.reference.rows, happened, rows, noise)

    def _accuracy(self, periods: Periods) -> np.ndarray:
        noise = covariances(self.correct, self.labelled, periods)
        happened, rows = (sums(values, periods)[:, 0] for values in (self.correct, self.labelled))
        right = self.known.correct(self.reference.decision_threshold)
        p_values = _rate(right, self.known.total, happened, rows, noise)
        return np.where(rows < self.minimum_labelled_rows, 1.0, p_values)

    def _estimated(self, periods: Periods) -> np.ndarray:
        """``statistics.estimated_accuracy`` of all periods at once, bins last."""
        confidence = Confidence.of(self.known, self.reference.decision_threshold)
        noise, totals = self.confidence_noise(periods), self.traffic.totals
        reference_rows = np.array(self.known.rows)
        before, of_before, _ = _confidence(confidence, reference_rows, np.array(self.known.probability_sums))
        rows = sums(totals.bin_rows, periods)
        accuracy, of_mean, bins = _confidence(confidence, rows, sums(totals.bin_sums, periods))
        second = rows.sum(axis=1)
        inflation = np.maximum(1.0, noise.matrix[:, 0, 0] / of_mean)
        moved = rows / second[:, np.newaxis] - reference_rows / self.known.total
        variance = of_mean * inflation / second + of_before / self.known.total + (moved**2 * bins).sum(axis=1)
        return _one_tail((accuracy - before) ** 2, variance, noise.degrees)

    def _kolmogorov_smirnov(
        self, own: np.ndarray, window: np.ndarray, noise: Covariances, periods: Periods
    ) -> np.ndarray:
        shares = (own + window) / (own + window).sum(axis=1, keepdims=True)
        below = np.cumsum(shares, axis=1)[:, :-1]
        variances = np.cumsum(np.cumsum(noise.matrix, axis=1), axis=2)[:, *np.diag_indices(len(own))][:, :-1]
        possible = below * (1.0 - below)
        with np.errstate(divide="ignore", invalid="ignore"):
            effects = np.where(possible > 1e-12, variances / possible, 1.0)
        effect = np.maximum(1.0, effects.max(axis=1))
        first, second = self.reference.rows, window.sum(axis=1)
        # The distance inside some cells together is at most that of one side's end and the other one's beginning.
        cumulative = np.cumsum(np.array(self.reference.probability_counts))
        starts = np.unique(np.searchsorted(cumulative, np.arange(_GROUPS) * first / _GROUPS, side="left"))
        starts[0] = 0
        grouped = np.add.reduceat(self.traffic.totals.probability_cells, starts, axis=1)
        running = np.concatenate(
            [np.zeros((1, len(starts)), dtype=np.int64), np.cumsum(grouped, axis=0, dtype=np.int64)]
        )
        counts = running[periods.end] - running[periods.start]
        ends = np.cumsum(counts, axis=1) / second[:, np.newaxis]
        own_ends = cumulative[np.append(starts[1:], len(cumulative)) - 1] / first
        nothing = np.zeros((len(second), 1))
        begins, own_begins = np.column_stack([nothing, ends[:, :-1]]), np.append(0.0, own_ends[:-1])
        distance = np.maximum(ends - own_begins, own_ends - begins).max(axis=1)
        effective = second / effect
        size = np.sqrt(first * effective / (first + effective))
        value = distance * (size + 0.12 + 0.11 / size)
        terms = np.arange(1, _TERMS + 1)
        scale = (terms**2) * (4.0 * value**2 / noise.degrees)[:, np.newaxis]
        series = np.exp(np.log1p(scale) * (-noise.degrees / 2.0)[:, np.newaxis])
        return np.where(value < 0.3, 1.0, 2.0 * (series[:, ::2] - series[:, 1::2]).sum(axis=1))

    def _calibration(self, periods: Periods) -> np.ndarray:
        """``statistics.calibration_change`` of all periods at once, bins last; those one side lacks weigh nothing."""
        totals, known = self.traffic.totals, self.known
        noise = covariances(self.gaps, self.labelled, periods)
        first = np.array(known.rows, dtype=np.float64)
        second = sums(totals.labelled_rows, periods).astype(np.float64)
        kept = (first > 0) & (second > 0)
        enough = (second * kept).sum(axis=1) >= self.minimum_labelled_rows
        one, other = np.maximum(first, 1.0), np.maximum(second, 1.0)
        rate_before, rate_now = np.array(known.positives) / one, sums(totals.labelled_positives, periods) / other
        sure_before = np.array(known.probability_sums) / FIXED_POINT / one
        sure_now = sums(totals.labelled_sums, periods) / FIXED_POINT / other
        gap_before, gap_now = rate_before - sure_before, rate_now - sure_now
        pooled = (first * gap_before + second * gap_now) / (first + second + 1.0)
        rate = rate_now - rate_before
        gap = gap_now - gap_before
        change = np.where(rate * gap > 0.0, np.where(np.abs(rate) < np.abs(gap), rate, gap), 0.0) * kept
        expected = [np.clip(sure + pooled, 0.0, 1.0) for sure in (sure_before, sure_now)]
        of_reference = expected[0] * (1.0 - expected[0]) / one
        variances = np.maximum(of_reference + expected[1] * (1.0 - expected[1]) / other, 1e-12)
        both = kept[:, :, np.newaxis] & kept[:, np.newaxis, :]
        correlated = np.where(both, noise.matrix, 0.0) * second.sum(axis=1)[:, np.newaxis, np.newaxis]
        matrix = correlated / (other[:, :, np.newaxis] * other[:, np.newaxis, :])
        place = np.arange(len(first))
        matrix[:, place, place] += of_reference * kept
        deviations = np.sqrt(variances)
        matrix /= deviations[:, :, np.newaxis] * deviations[:, np.newaxis, :]
        binned = weighted_tail((change**2 / variances).sum(axis=1), matrix, noise.degrees)
        slopes = (1.0 - 2.0 * sure_now) * kept
        weights = second * slopes
        variance = np.einsum("ij,ijk,ik->i", slopes, correlated, slopes) + (weights**2 * of_reference).sum(axis=1)
        slope = _one_tail((weights * change).sum(axis=1) ** 2, variance, noise.degrees)
        return np.where(enough, np.minimum(1.0, 2.0 * np.minimum(binned, slope)), 1.0)


def sums(values: np.ndarray, periods: Periods, *, before: bool = False) -> np.ndarray:
    """The sums over each period, or over what is before it: shape (periods, k)."""
    each = values.reshape(len(values) // SUB_WINDOWS, SUB_WINDOWS, -1).sum(axis=1)
    running = np.concatenate([np.zeros_like(each[:1]), np.cumsum(each, axis=0)])
    first, last = (periods.before, periods.start) if before else (periods.start, periods.end)
    return running[last] - running[first]


def covariances(values: np.ndarray, rows: np.ndarray, periods: Periods) -> Covariances:
    """The covariances of ``traffic_noise.block_noise`` but for the clipping of negative eigenvalues: values and rows of
    all sub-windows, shapes (sub-windows, k) and (sub-windows,)."""
    values = np.asarray(values, dtype=np.float64).reshape(len(rows), -1)
    width = values.shape[1]
    both = np.column_stack([values, rows])
    number = (periods.end - periods.before) * SUB_WINDOWS
    flats = np.array([max(1, math.isqrt(int(one)) // 3) for one in number])
    matrix, degrees = np.empty((len(number), width, width)), np.empty(len(number))
    filled = sums(rows > 0, Periods(periods.before, periods.before, periods.end))[:, 0]
    for flat in np.unique(flats):
        chosen = np.flatnonzero(flats == flat)
        part = Periods(periods.before[chosen], periods.start[chosen], periods.end[chosen])
        weights = np.convolve(np.ones(flat), np.ones(3 * flat)) / flat
        first, last = int(part.before.min()), int(part.end.max())
        needed = both[first * SUB_WINDOWS : last * SUB_WINDOWS]
        total, pieces = _residual_products(
            needed, weights, Periods(part.before - first, part.start - first, part.end - first)
        )
        left = number[chosen] - pieces * weights.sum()
        in_all = sums(rows, Periods(part.before, part.before, part.end))[:, 0]
        matrix[chosen] = total / (in_all * np.maximum(left, 1.0) / number[chosen])[:, np.newaxis, np.newaxis]
        degrees[chosen] = filled[chosen] / (weights**2).sum()
    return Covariances(matrix, degrees)


def _residual_products(both: np.ndarray, weights: np.ndarray, periods: Periods) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sums of products of residuals over pairs of sub-windows, symmetric, and how many pieces there are.

    A residual is linear in the values and the rows beside them, so the sums are those of ``both``, once for each window
    and each pair of neighbours, with the residual taken afterwards.
    """
    reach = len(weights) // 2
    assert reach <= SUB_WINDOWS, "a sub-window has no pair beyond the next window"
    lags = np.arange(SUB_WINDOWS)[np.newaxis, :] - np.arange(SUB_WINDOWS)[:, np.newaxis]
    windows = both.reshape(-1, SUB_WINDOWS, both.shape[1])
    turned = windows.transpose(0, 2, 1)
    within = turned @ (_at(weights, lags) @ windows)
    across = turned[:-1] @ (_at(weights, lags + SUB_WINDOWS) @ windows[1:])
    across = across + across.transpose(0, 2, 1)
    within, beside = (
        np.concatenate([np.zeros((1, *one.shape[1:])), np.cumsum(one, axis=0)]) for one in (within, across)
    )

    def residual(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        length = last - first
        last_pair = np.maximum(last - 1, first)
        products = within[last] - within[first] + beside[last_pair] - beside[first]
        total = running[last] - running[first]
        taken = np.where(length[:, np.newaxis] > 0, total[:, :-1] / np.maximum(total[:, -1:], 1.0), 0.0)
        return products, taken

    each = windows.sum(axis=1)
    running = np.concatenate([np.zeros_like(each[:1]), np.cumsum(each, axis=0)])
    width = both.shape[1] - 1
    found = np.zeros((len(periods.end), width, width))
    sides = [residual(periods.before, periods.start), residual(periods.start, periods.end)]
    for products, taken in sides:
        found += _without(products, taken, taken)
    learnt = periods.start > periods.before
    # The last window before and the first one of the period are neighbours.
    place = np.maximum(periods.start - 1, 0)
    pairs = turned[place] @ (_at(weights, lags + SUB_WINDOWS) @ windows[periods.start])
    joined = _without(pairs, sides[0][1], sides[1][1])
    found += np.where(learnt[:, np.newaxis, np.newaxis], joined + joined.transpose(0, 2, 1), 0.0)
    return found, 1 + learnt


def _at(weights: np.ndarray, lags: np.ndarray) -> np.ndarray:
    reach = len(weights) // 2
    return np.where(np.abs(lags) <= reach, weights[np.clip(lags + reach, 0, len(weights) - 1)], 0.0)


def _without(products: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Products of values less shares of the rows, from the products of values with rows beside them."""
    values, rows = products[:, :-1, :-1], products[:, -1, -1][:, np.newaxis, np.newaxis]
    found = values - left[:, :, np.newaxis] * products[:, -1, :-1][:, np.newaxis, :]
    found = found - products[:, :-1, -1][:, :, np.newaxis] * right[:, np.newaxis, :]
    return found + rows * left[:, :, np.newaxis] * right[:, np.newaxis, :]


def _rate(happened: int, rows: int, window: np.ndarray, window_rows: np.ndarray, noise: Covariances) -> np.ndarray:
    pooled = (happened + window) / (rows + window_rows)
    variance = pooled * (1.0 - pooled)
    inflation = np.maximum(1.0, noise.matrix[:, 0, 0] / variance)
    difference = window / np.maximum(window_rows, 1) - happened / rows
    return _one_tail(difference**2, variance * (1.0 / rows + inflation / np.maximum(window_rows, 1)), noise.degrees)


def _confidence(confidence: Confidence, rows: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, ...]:
    """The mean confidence, its variance over rows, and that of each bin's gap; bins last."""
    filled, given = np.maximum(rows, 1), fixed / FIXED_POINT
    values = np.where(rows > 0, confidence.right(rows, given) / filled, 0.0)
    shares = rows / rows.sum(axis=-1, keepdims=True)
    means = np.clip(given / filled, confidence.lowest, confidence.highest)
    within = (shares * (means - confidence.lowest) * (confidence.highest - means)).sum(axis=-1)
    mean = (shares * values).sum(axis=-1)
    sure = np.where(rows > 0, given / filled, 0.5)
    uncertain = np.maximum(values * (1.0 - values), sure * (1.0 - sure))
    over_rows = (shares * values**2).sum(axis=-1) - mean**2 + within
    return mean, over_rows, uncertain / (np.array(confidence.reference.rows) + 1.0)


def _one_tail(square: np.ndarray, variance: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """0, which spares nothing, where no variance is left: the product's covariance has no negative eigenvalues."""
    from scipy.special import fdtrc

    return np.where(variance > 0.0, fdtrc(1.0, degrees, square / np.where(variance > 0.0, variance, 1.0)), 0.0)


def _distance(own: np.ndarray, window: np.ndarray, noise: Covariances) -> np.ndarray:
    """``statistics.jensen_shannon.distance`` of a column all of whose bins but that of missing values are filled."""
    assert (own[:-1] > 0).all()
    possible = own > 0
    first, second = int(own.sum()), window.sum(axis=1)
    pooled = (own + window)[:, possible] / (first + second)[:, np.newaxis]
    inverse = 1.0 / first + 1.0 / second
    moved = own[possible] / first - window[:, possible] / second[:, np.newaxis]
    pearson = (moved**2 / pooled).sum(axis=1) / inverse
    roots = np.sqrt(pooled)
    scaled = noise.matrix[:, possible][:, :, possible] / (roots[:, :, np.newaxis] * roots[:, np.newaxis, :])
    # Every direction in which shares move has the reference's variance too: all but that of the roots themselves.
    matrix = scaled / second[:, np.newaxis, np.newaxis]
    matrix += (np.eye(roots.shape[1]) - roots[:, :, np.newaxis] * roots[:, np.newaxis, :]) / first
    return weighted_tail(pearson, matrix / inverse[:, np.newaxis, np.newaxis], noise.degrees, own=1.0 / first / inverse)


def weighted_tail(
    statistic: np.ndarray, matrix: np.ndarray, degrees: np.ndarray, own: np.ndarray | float = 0.0
) -> np.ndarray:
    """``statistics.quadratic_form.tail`` with the eigenvalues of each matrix as weights, none below ``own``.

    The largest k - 1 count where there is such a floor. What is above 0.15 for certain is 1.
    """
    from scipy.special import fdtrc

    found = np.ones(len(statistic))
    total = np.trace(matrix, axis1=1, axis2=2)
    left = np.flatnonzero(statistic > total)
    if len(left) == 0:
        return found
    floor = np.broadcast_to(own, statistic.shape)[left, np.newaxis]
    values = np.linalg.eigvalsh(matrix[left])[:, ::-1]
    weights = np.maximum(values, floor)
    if np.ndim(own) or own:
        weights = weights[:, :-1]
    largest = weights[:, :1]
    weights, value = weights / largest, statistic[left] / largest[:, 0]
    weights = np.where(weights > 1e-9, weights, 0.0)
    sum_of, squares = weights.sum(axis=1), (weights**2).sum(axis=1)
    scale, shape = squares / sum_of, sum_of**2 / squares
    rough = fdtrc(shape, degrees[left], value / (scale * shape))
    exact = rough <= 0.2
    rough[exact] = _saddlepoint(value[exact], weights[exact], degrees[left][exact])
    found[left] = rough
    return found


def _saddlepoint(statistic: np.ndarray, weights: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    scaled = np.column_stack([weights, -statistic / degrees])
    freedom = np.column_stack([np.ones_like(weights), degrees])
    low, high = np.zeros(len(statistic)), 0.5 / weights.max(axis=1)
    for _ in range(60):
        middle = (low + high) / 2.0
        below = (freedom * scaled / (1.0 - 2.0 * scaled * middle[:, np.newaxis])).sum(axis=1) < 0.0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    cumulant = -0.5 * (freedom * np.log1p(-2.0 * scaled * low[:, np.newaxis])).sum(axis=1)
    curvature = 2.0 * (freedom * (scaled / (1.0 - 2.0 * scaled * low[:, np.newaxis])) ** 2).sum(axis=1)
    root = np.sqrt(np.maximum(-2.0 * cumulant, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ndtr(-(root + np.log(low * np.sqrt(curvature) / root) / root))
    return np.where(root < 1e-4, 0.5, np.minimum(1.0, found))
