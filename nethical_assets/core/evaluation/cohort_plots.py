"""The picture of the ethical drift report: rates of ordered cohorts with their intervals.

What belongs here: drawing. What does not: computing anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nethical_assets.core.evaluation.cohorts import CohortFigures, CohortKind
from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.ethical_report import EthicalDriftReport
from nethical_assets.core.ground.drawing import ACCENT, INK, new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS: tuple[tuple[CohortKind, str], ...] = (
    ("training_run", "training runs"),
    ("time_window", "windows of traffic"),
)
_MAXIMUM_FAMILIES = 12


def cohort_trends_png(report: EthicalDriftReport) -> bytes:
    """Accuracy and the share called positive of training runs and of windows, one row a family, 900 pixels wide."""
    families = [(name, one.cohorts) for name, one in report.families.items()][:_MAXIMUM_FAMILIES]
    families = families or [("no family was evaluated", ())]
    drawn = new_figure(9.0, 0.6 + 2.0 * len(families))
    bottom = 0.45 / (0.6 + 2.0 * len(families))
    margins = {"left": 0.07, "right": 0.98, "top": 1.0 - bottom, "bottom": bottom, "hspace": 0.5, "wspace": 0.12}
    grid = drawn.subplots(len(families), 2, squeeze=False, sharey=True, gridspec_kw=margins)
    for (family, every), row in zip(families, grid, strict=True):
        for (kind, title), axes in zip(_COLUMNS, row, strict=True):
            cohorts = [one for one in every if one.kind == kind]
            _draw(axes, cohorts)
            axes.set_title(f"{family}: {title}", fontsize=9)
            axes.set(ylim=(0, 1))
    grid[0][0].legend(loc="lower left", frameon=False, fontsize=8)
    return png_bytes(drawn)


def _draw(axes: Axes, cohorts: Sequence[CohortFigures]) -> None:
    if not cohorts:
        axes.text(0.5, 0.5, "none yet", ha="center", va="center", fontsize=10, transform=axes.transAxes)
    for label, color, values in (
        ("accuracy", ACCENT, [one.accuracy for one in cohorts]),
        ("called positive", INK, [one.positive_rate for one in cohorts]),
    ):
        told = [(place, one) for place, one in enumerate(values) if one.value is not None]
        axes.errorbar(
            [place for place, _ in told],
            [one.value or 0.0 for _, one in told],
            yerr=_reach([one for _, one in told]),
            fmt="o-",
            color=color,
            markersize=3,
            linewidth=1,
            capsize=2,
            label=label,
        )
    axes.set_xticks(*_ticks(cohorts))
    axes.tick_params(labelsize=7)


def _reach(values: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    below = [(one.value or 0.0) - (one.low or 0.0) for one in values]
    return below, [(1.0 if one.high is None else one.high) - (one.value or 0.0) for one in values]


def _ticks(cohorts: Sequence[CohortFigures]) -> tuple[list[int], list[str]]:
    """Where times are written: at both ends, which has room however many cohorts there are."""
    places = sorted({0, len(cohorts) - 1}) if cohorts else []
    return places, [cohorts[place].at[5:16].replace("T", " ") for place in places]
