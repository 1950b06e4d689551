"""The pictures of a card as inline SVG: reliability, ROC, precision-recall, confusion matrix, composition.

What belongs here: geometry from numbers of the card, coloured by the classes of ``templates/page.css``. What does not:
computing a number that is shown; every text in a picture is a number of the card or a fixed label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nethical_assets.core.cards.figures import decimal, interval

_SIZE, _LEFT, _TOP, _RIGHT, _BELOW = 240.0, 46.0, 12.0, 14.0, 44.0
_TICKS = ("0", "0.25", "0.5", "0.75", "1")
_BARS = 46.0
_NO_CURVE = "No curve: the test rows are of one class, or the predictions are not numbers."
_CHOSEN = "where the detector decides"


def reliability_chart(card: Mapping[str, Any]) -> str:
    """Observed rate with its interval against mean probability, and below it how many rows each bin holds."""
    bins = [row for row in card["evaluation"]["reliability"] if row["rows"]]
    if not bins:
        return _nothing("No probabilities to compare with what was observed.")
    parts = [_line(0, 0, 1, 1, "reference")]
    corners = [(row["mean_probability"], row["observed_rate"]) for row in bins]
    for row in bins:
        parts.append(
            _line(
                row["mean_probability"], row["observed_low"], row["mean_probability"], row["observed_high"], "whisker"
            )
        )
    parts.append(_path(corners, "curve"))
    for row in bins:
        tooltip = (
            f"{decimal(row['low'], 2)} to {decimal(row['high'], 2)}: {row['rows']:d} rows, mean probability "
            f"{decimal(row['mean_probability'])}, observed rate {decimal(row['observed_rate'])} "
            f"({interval(row['observed_low'], row['observed_high'])})"
        )
        parts.append(_dot(row["mean_probability"], row["observed_rate"], "dot", tooltip))
    return _axes("Reliability", "predicted probability", "share of positives", parts, below=_histogram(bins))


def roc_chart(card: Mapping[str, Any]) -> str:
    """Recall against the false positive rate, with the point at which the detector decides."""
    points = card["evaluation"]["operating_points"] or {}
    corners = list(zip(points.get("false_positive_rate", ()), points.get("recall", ()), strict=True))
    if not corners:
        return _nothing(_NO_CURVE)
    parts = [_line(0, 0, 1, 1, "reference"), _path([*corners, (1.0, 0.0)], "area"), _path(corners, "curve")]
    matrix = card["evaluation"]["confusion"]
    if matrix and card["metrics"]["recall"]["value"] is not None:
        negatives = matrix["false_positives"] + matrix["true_negatives"]
        if negatives:
            parts.append(
                _dot(matrix["false_positives"] / negatives, card["metrics"]["recall"]["value"], "chosen", _CHOSEN)
            )
    return _axes("ROC curve", "false positive rate", "recall", parts)


def precision_recall_chart(card: Mapping[str, Any]) -> str:
    """Precision against recall, with the point at which the detector decides and the share of positives."""
    evaluation = card["evaluation"]
    points = evaluation["operating_points"] or {}
    corners = [
        (recall, precision)
        for recall, precision in zip(points.get("recall", ()), points.get("precision", ()), strict=True)
        if precision is not None
    ]
    if not corners:
        return _nothing(_NO_CURVE)
    parts = []
    if evaluation["test_rows"]:
        share = evaluation["test_positives"] / evaluation["test_rows"]
        parts.append(_line(0, share, 1, share, "reference"))
    parts.append(_path(corners, "curve"))
    recall, precision = (card["metrics"][name]["value"] for name in ("recall", "precision"))
    if recall is not None and precision is not None:
        parts.append(_dot(recall, precision, "chosen", _CHOSEN))
    return _axes("Precision-recall curve", "recall", "precision", parts)


def confusion_chart(card: Mapping[str, Any]) -> str:
    """Row counts at the decision threshold; the darker, the larger the share of that label."""
    matrix = card["evaluation"]["confusion"]
    if matrix is None:
        return _nothing("No usable predictions.")
    labels = (
        ("positive", matrix["true_positives"], matrix["false_negatives"]),
        ("negative", matrix["false_positives"], matrix["true_negatives"]),
    )
    half = _SIZE / 2
    parts = []
    for row, (label, *counts) in enumerate(labels):
        middle = _TOP + row * half + half / 2
        parts.append(
            f'<text class="tick" text-anchor="middle" transform="rotate(-90 {_LEFT - 12:.1f} {middle:.1f})" '
            f'x="{_LEFT - 12:.1f}" y="{middle:.1f}">{label}</text>'
        )
        for column, count in enumerate(counts):
            share = count / max(sum(counts), 1)
            x, y = _LEFT + column * half, _TOP + row * half
            right = "right" if row == column else "wrong"
            parts.append(
                f'<rect class="cell {right}" x="{x + 2:.1f}" y="{y + 2:.1f}" width="{half - 4:.1f}" '
                f'height="{half - 4:.1f}" rx="4" fill-opacity="{0.08 + 0.4 * share:.2f}"/>'
                f'<text class="count" text-anchor="middle" x="{x + half / 2:.1f}" y="{middle + 7:.1f}">{count:d}</text>'
            )
    for column, called in enumerate(("called positive", "called negative")):
        parts.append(_text("tick", _LEFT + (column + 0.5) * half, _TOP + _SIZE + 16, called))
    parts.append(_text("axis", _LEFT + half, _TOP + _SIZE + 36, "decision"))
    parts.append(_text("axis", 14, _TOP + half, "label", turned=True))
    return _picture("Confusion matrix", parts)


def share_bar(positives: int, rows: int, most: int) -> str:
    """A bar as long as ``rows`` is of ``most``, in two colours: positive and negative rows."""
    length = 100.0 * rows / max(most, 1)
    part = length * positives / max(rows, 1)
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="positive" width="{part:.2f}" height="8"/>'
        f'<rect class="negative" x="{part:.2f}" width="{length - part:.2f}" height="8"/></svg>'
    )


def _axes(title: str, x_label: str, y_label: str, parts: Sequence[str], below: Sequence[str] = ()) -> str:
    """A unit square with ticks and labels around ``parts``; ``below`` is drawn under the labels."""
    frame = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_SIZE}" height="{_SIZE}"/>']
    for tick in _TICKS:
        value = float(tick)
        frame.append(_line(value, 0, value, 1, "grid") + _line(0, value, 1, value, "grid"))
        frame.append(_text("tick", _x(value), _TOP + _SIZE + 16, tick))
        frame.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 7}" y="{_y(value) + 4:.1f}">{tick}</text>')
    frame.append(_text("axis", _x(0.5), _TOP + _SIZE + 36, x_label))
    frame.append(_text("axis", 12, _y(0.5), y_label, turned=True))
    return _picture(title, [*frame, *parts, *below], more=_BARS if below else 0.0)


def _histogram(bins: Iterable[Mapping[str, Any]]) -> list[str]:
    """Row counts of reliability bins as bars, the tallest as high as there is room."""
    bins = list(bins)
    floor = _TOP + _SIZE + _BELOW + _BARS - 4
    most = max(row["rows"] for row in bins)
    bars = []
    for row in bins:
        height = max((_BARS - 8) * row["rows"] / most, 1.0)
        left, right = _x(row["low"]), _x(row["high"])
        bars.append(
            f'<rect class="rows" x="{left + 1:.1f}" y="{floor - height:.1f}" width="{max(right - left - 2, 1):.1f}" '
            f'height="{height:.1f}"><title>{row["rows"]:d} rows</title></rect>'
        )
    label = f'<text class="tick" text-anchor="end" x="{_LEFT - 7}" y="{floor}">rows</text>'
    return [label, *bars]


def _picture(title: str, parts: Sequence[str], more: float = 0.0) -> str:
    width, height = _LEFT + _SIZE + _RIGHT, _TOP + _SIZE + _BELOW + more
    frame = f'class="chart" role="img" aria-label="{title}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f"<svg {frame}>{''.join(parts)}</svg>"


def _nothing(sentence: str) -> str:
    return f'<p class="nothing">{sentence}</p>'


def _x(value: float) -> float:
    return _LEFT + _SIZE * value


def _y(value: float) -> float:
    return _TOP + _SIZE * (1.0 - value)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    ends = f'x1="{_x(x1):.1f}" y1="{_y(y1):.1f}" x2="{_x(x2):.1f}" y2="{_y(y2):.1f}"'
    return f'<line class="{kind}" {ends}/>'


def _path(corners: Sequence[tuple[float, float]], kind: str) -> str:
    points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in corners)
    return f'<polyline class="{kind}" points="{points}"/>'


def _dot(x: float, y: float, kind: str, tooltip: str) -> str:
    return f'<circle class="{kind}" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="4"><title>{tooltip}</title></circle>'


def _text(kind: str, x: float, y: float, text: str, *, turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text class="{kind}" text-anchor="middle" x="{x:.1f}" y="{y:.1f}"{turn}>{text}</text>'
