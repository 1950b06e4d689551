"""How the numbers and the foreign texts of a card are written, in every format for people.

What belongs here: rounding, names of metrics, making a foreign text harmless for any layout. What does not: the
escaping that one format needs (``markdown``, ``html``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}
SLICES = {
    "by_source": "By source (test rows)",
    "left_out_of_training": "Sources left out of training",
    "never_trained_on": "Sources never trained on",
}
NOTHING = "-"
# Controls, characters that reorder or hide their neighbours, surrogates and noncharacters.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\U000e0000-\U000e007f]"
)


def clean(text: object) -> str:
    """``text`` on one line; characters that cannot be seen or that reorder others become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", " ".join(str(text).split()))


def decimal(value: float | None, places: int = 4) -> str:
    """A measured number, rounded; a dash where there is none."""
    return NOTHING if value is None else f"{value:.{places}f}"


def exact(value: Any) -> str:
    """A JSON value as the card writes it; a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def interval(low: float | None, high: float | None) -> str:
    """An interval, rounded like ``decimal``."""
    return NOTHING if low is None or high is None else f"{decimal(low)} to {decimal(high)}"


def estimate(metric: Mapping[str, Any]) -> tuple[str, str]:
    """The value and the 95 % interval of a metric, or ``undefined`` and why."""
    if metric["value"] is None:
        return "undefined", clean(metric["reason"])
    return decimal(metric["value"]), interval(metric["low"], metric["high"])


def metric_title(name: str) -> str:
    """The name of a metric for people."""
    return METRIC_NAMES.get(name, name)


def in_order(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Metrics in the order in which people read them; unknown ones last."""
    known = list(METRIC_NAMES)
    return sorted(metrics.items(), key=lambda item: (known.index(item[0]) if item[0] in known else len(known), item[0]))


def retrained_because(card: Mapping[str, Any]) -> str:
    """Which drift report asked for the model, as a sentence; empty where none did or the card is an older one."""
    because = card.get("retrained_because")
    if not because:
        return ""
    window = because["window"]
    about = "" if window is None else f" of window {_minute(window['start'])} to {_minute(window['end'])} UTC"
    return f"Retrained because: drift report {clean(because['drift_report'])}{about}."


def _minute(moment: str) -> str:
    return clean(moment)[:16].replace("T", " ")


def slices(card: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The title and the sources of every slice that was measured."""
    return [(title, card["evaluation"][name]) for name, title in SLICES.items() if card["evaluation"][name]]


def leaves(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested tables under its dotted name; lists stay whole."""
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", exact(value)
