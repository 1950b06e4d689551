"""The HTML form of a model card: one page that needs nothing else, readable by people and safe to open.

What belongs here: what the templates of the page are given, and how anything they write is made harmless. What does
not: layout and words (``templates``), pictures (``charts``), any number that is not in the card.

A policy in the page forbids scripts and every request. Templates cannot forget to escape: whatever they write is
cleaned and escaped unless it is markup that a template or ``charts`` made, and a name that is not there is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from nethical_assets.core.cards import charts
from nethical_assets.core.cards.annex_iv import DISCLAIMER, MEANINGS, annex_rows
from nethical_assets.core.cards.card import card_digest
from nethical_assets.core.cards.figures import (
    clean,
    decimal,
    estimate,
    exact,
    in_order,
    interval,
    leaves,
    metric_title,
    retrained_because,
    slices,
)

if TYPE_CHECKING:
    from jinja2 import Environment


def render_html(card: Mapping[str, Any]) -> str:
    """The card as a page; the same card gives the same text."""
    from markupsafe import Markup

    sources = card["dataset_info"]["sources"]
    most = max((numbers["rows"] for numbers in sources.values()), default=0)
    pictures = (
        ("Reliability", "dots on the dashed line are calibrated", charts.reliability_chart(card)),
        ("ROC", "dashed: chance; dot: where the detector decides", charts.roc_chart(card)),
        ("Precision-recall", "dashed: share of positives", charts.precision_recall_chart(card)),
        ("Confusion matrix", "test rows at the decision threshold", charts.confusion_chart(card)),
    )
    # Markup: pictures are drawn by ``charts`` from numbers and fixed labels.
    return (
        _environment()
        .get_template("card.html")
        .render(
            card=card,
            digest=card_digest(card),
            because=retrained_because(card),
            pictures=[(title, note, Markup(picture)) for title, note, picture in pictures],  # noqa: S704
            bars={
                name: Markup(charts.share_bar(numbers["positives"], numbers["rows"], most))  # noqa: S704
                for name, numbers in sources.items()
            },
            slices=slices(card),
            settings=list(leaves(card["training_config"])),
            annex_disclaimer=DISCLAIMER,
            annex_meanings=MEANINGS,
            annex_rows=annex_rows(card),
        )
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(str(__package__), "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_cleaned,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters |= {
        "decimal": decimal,
        "estimate": estimate,
        "exact": exact,
        "in_order": in_order,
        "interval": interval,
        "metric_title": metric_title,
    }
    return environment


def _cleaned(value: object) -> object:
    """What a template writes: markup as it is, anything else on one line and visible; it is escaped after that."""
    return value if hasattr(value, "__html__") else clean(value)
