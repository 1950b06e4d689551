"""Pictures of an evaluation: reliability diagram and confusion matrix.

What belongs here: rendering of an ``Evaluation`` as small PNG bytes, and what every picture is made with. What does
not: computing anything.
"""

from __future__ import annotations

from nethical_assets.core.evaluation.metrics import ConfusionMatrix, Evaluation
from nethical_assets.core.ground.drawing import ACCENT, INK, new_figure, png_bytes

# What is written in a picture has a known length: looking for the room that it needs takes longer than drawing it.
_MARGINS = {"left": 0.13, "right": 0.97, "top": 0.93, "bottom": 0.09, "hspace": 0.08}


def reliability_png(evaluation: Evaluation) -> bytes:
    """The reliability diagram, 600 x 600 pixels: observed rate with interval against mean probability, and row counts.

    Without probabilities the picture says so.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = new_figure(6.0, 6.0)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True, gridspec_kw=_MARGINS)
    occupied = [row for row in evaluation.reliability if row.rows]
    upper.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle="--", label="perfectly calibrated")
    means = [row.mean_probability or 0.0 for row in occupied]
    rates = [row.observed_rate or 0.0 for row in occupied]
    below = [rate - (row.observed_low or 0.0) for row, rate in zip(occupied, rates, strict=True)]
    above = [(row.observed_high or 0.0) - rate for row, rate in zip(occupied, rates, strict=True)]
    if occupied:
        upper.errorbar(means, rates, yerr=(below, above), fmt="o-", color=ACCENT, capsize=3, label="observed")
        width = 1.0 / evaluation.ece_bins
        lower.bar([row.low + width / 2 for row in occupied], [row.rows for row in occupied], width * 0.92, color=ACCENT)
    else:
        upper.text(0.5, 0.5, "no probabilities", ha="center", va="center", fontsize=16)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of positives")
    ece = evaluation.value("ece")
    upper.set_title(f"Reliability, {evaluation.rows} test rows" + ("" if ece is None else f", ECE {ece:.3f}"))
    upper.legend(loc="upper left", frameon=False)
    lower.set(xlabel="predicted probability", ylabel="rows")
    # Counts of rows: whole, and short however many there are.
    lower.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    lower.yaxis.set_major_formatter(EngFormatter(sep=""))
    return png_bytes(figure)


def confusion_png(evaluation: Evaluation) -> bytes:
    """The confusion matrix at the decision threshold, 600 x 500 pixels: counts, and shares of the true class."""
    figure = new_figure(6.0, 5.0)
    axes = figure.subplots(gridspec_kw=_MARGINS)
    matrix = evaluation.confusion
    axes.set_title(f"Decisions at {evaluation.decision_threshold:g}, {evaluation.rows} test rows")
    if matrix is None:
        axes.text(0.5, 0.5, "no usable predictions", ha="center", va="center", fontsize=16)
        return png_bytes(figure)
    counts = _counts(matrix)
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for actual, (row, row_shares) in enumerate(zip(counts, shares, strict=True)):
        for called, (count, share) in enumerate(zip(row, row_shares, strict=True)):
            color = "white" if share > 0.6 else INK
            axes.text(called, actual, f"{count}\n{share:.1%}", ha="center", va="center", fontsize=18, color=color)
    axes.set_xticks((0, 1), ("called negative", "called positive"))
    axes.set_yticks((0, 1), ("negative", "positive"))
    axes.set_ylabel("label")
    return png_bytes(figure)


def _counts(matrix: ConfusionMatrix) -> tuple[tuple[int, int], tuple[int, int]]:
    return (matrix.true_negatives, matrix.false_positives), (matrix.false_negatives, matrix.true_positives)
