"""Pictures of a drift report: each column's window against its reference, and rates over the windows before.

What belongs here: drawing what the facts of a report hold, as small PNG bytes. What does not: computing any of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.drawing import ACCENT, INK, QUIET, new_figure, png_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS_DRAWN = 9
"""So many columns, those that moved most, are readable in one picture."""
_ACROSS = 3
_BAR = 0.4
_LINES = (
    ("positive_rate", "called positive", ACCENT, "o-"),
    ("accuracy", "accuracy, measured", "#1a7f37", "s-"),
    ("estimated_accuracy", "accuracy, estimated", "#bc4c00", "^--"),
)
_TITLE_LENGTH = 24


def columns_png(histograms: Mapping[str, Mapping[str, Any]], scores: Mapping[str, float]) -> bytes:
    """Bars of the shares of rows by bin, reference beside window, for at most ``COLUMNS_DRAWN`` columns, 900 pixels.

    Args:
        histograms: column -> ``edges`` (ascending, bins are closed on the right and the outer ones open), and the
            shares of ``reference`` and ``window`` in the bins, in [0, 1]; one share more than bins is that of missing
            values.
        scores: column -> how far it moved; those that moved most come first.
    """
    names = sorted(histograms, key=lambda name: (-scores.get(name, 0.0), name))[:COLUMNS_DRAWN]
    down = max(1, math.ceil(len(names) / _ACROSS))
    figure = new_figure(9.0, 0.7 + 2.3 * down)
    top = 1.0 - 0.7 / (0.7 + 2.3 * down)
    grid = figure.subplots(
        down,
        _ACROSS,
        squeeze=False,
        gridspec_kw={"left": 0.06, "right": 0.985, "top": top, "bottom": 0.2 / down, "hspace": 0.62, "wspace": 0.26},
    )
    places = [axes for row in grid for axes in row]
    for axes, name in zip(places, names, strict=False):
        _column(axes, name, histograms[name], scores.get(name))
    for axes in places[len(names) :]:
        axes.set_axis_off()
    handles, labels = places[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="upper left", ncols=2, frameon=False, bbox_to_anchor=(0.045, 1.0))
    figure.text(0.985, 1.0 - 0.3 / (0.7 + 2.3 * down), "share of rows by bin", ha="right", va="center", color=INK)
    return png_bytes(figure)


def _column(axes: Axes, name: str, histogram: Mapping[str, Any], score: float | None) -> None:
    shares = {side: [float(share) for share in histogram[side]] for side in ("reference", "window")}
    places = range(len(shares["reference"]))
    axes.bar([at - _BAR / 2 for at in places], shares["reference"], _BAR, color=QUIET, label="reference")
    axes.bar([at + _BAR / 2 for at in places], shares["window"], _BAR, color=ACCENT, label="window")
    axes.set_title(_shortened(name) + ("" if score is None else f"  {score:.2f}"), fontsize=9, loc="left")
    labels = _bins([float(edge) for edge in histogram["edges"]], len(shares["reference"]))
    shown = [at for at in places if _is_labelled(at, len(labels))]
    axes.set_xticks(shown, [labels[at] for at in shown], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_ylim(0.0, max(0.05, *shares["reference"], *shares["window"]) * 1.08)
    axes.spines[["top", "right"]].set_visible(False)


def _bins(edges: Sequence[float], count: int) -> list[str]:
    """What stands below each bin: its upper edge, of the last one what it is above."""
    if not edges:
        return ["all", "missing"][:count]
    labels = [f"≤{edge:.3g}" for edge in edges] + [f">{edges[-1]:.3g}"]
    return [*labels, "missing"][:count]


def _is_labelled(at: int, count: int) -> bool:
    """Three labels at most, so that none covers another: the first, one in the middle, the last."""
    return count <= 3 or at in (0, (count - 1) // 2, count - 1)


def _shortened(name: str) -> str:
    return name if len(name) <= _TITLE_LENGTH else f"{name[: _TITLE_LENGTH - 1]}…"


def rates_png(rates: Sequence[Mapping[str, Any]]) -> bytes:
    """Lines of the rates over time, one point a window, and bars of the rows below; 900 x 500 pixels.

    Args:
        rates: windows in order of time: ``start`` (ISO 8601), ``rows``, and ``positive_rate``, ``accuracy`` and
            ``estimated_accuracy`` in [0, 1], or None where there is none: the line has a gap there.
    """
    import matplotlib.dates
    from matplotlib.ticker import EngFormatter, MaxNLocator

    dates: Any = matplotlib.dates  # without types
    figure = new_figure(9.0, 5.0)
    upper, lower = figure.subplots(
        2,
        1,
        height_ratios=(3, 1),
        sharex=True,
        gridspec_kw={"left": 0.07, "right": 0.98, "top": 0.92, "bottom": 0.1, "hspace": 0.08},
    )
    # Numbers of days, and not times: units of an axis are looked up in a registry that is shared.
    times = [float(dates.date2num(datetime.fromisoformat(one["start"]))) for one in rates]
    drawn = False
    for name, title, color, style in _LINES:
        values = [math.nan if one.get(name) is None else float(one[name]) for one in rates]
        if not all(map(math.isnan, values)):
            upper.plot(times, values, style, color=color, label=title, markersize=4)
            drawn = True
    if drawn:
        figure.legend(loc="upper left", ncols=len(_LINES), frameon=False, bbox_to_anchor=(0.06, 1.0))
    else:
        upper.text(0.5, 0.5, "no rates", ha="center", va="center", fontsize=16, transform=upper.transAxes)
    upper.set(ylim=(-0.02, 1.02), ylabel="share")
    upper.grid(axis="y", color="#e4e7eb")
    width = min((later - former for former, later in itertools.pairwise(times)), default=0.25) * 0.8
    lower.bar(times, [one["rows"] for one in rates], width, color=QUIET, align="center")
    lower.set_ylabel("rows")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(EngFormatter(sep=""))
    if times:
        lower.xaxis_date()
        locator = dates.AutoDateLocator()
        lower.xaxis.set_major_locator(locator)
        lower.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        lower.set_xlim(min(times) - width, max(times) + width)
    lower.set_xlabel("beginning of the window, UTC", labelpad=2, fontsize=9)
    return png_bytes(figure)
