"""The Markdown form of a model card.

What belongs here: layout. What does not: any number that is not in the card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nethical_assets.core.cards.card import card_bytes

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}
_SPECIAL = re.compile(r"[\\`*\[\]<|~]|^[#>+-]|(?<!\w)_|_(?!\w)")


def render_markdown(card: Mapping[str, Any]) -> str:
    """The card for people: the same facts as the JSON document, in the order in which it is stored, nothing more."""
    card = json.loads(card_bytes(card))
    info, governance, evaluation = card["dataset_info"], card["governance_summary"], card["evaluation"]
    warning = ["> **Synthetic data.** No source could serve real data; the figures say nothing about real traffic.", ""]
    lines = [
        f"# {card['title']} {card['model_version']}",
        "",
        *(warning if info["synthetic"] else []),
        f"**Verdict: {card['verdict']}.** {card['model_form']}",
        "",
        *_bullets(card["reasons"]),
        "",
        "## Metrics",
        "",
        f"On {evaluation['test_rows']} test rows ({evaluation['test_positives']} positive) that training never saw.",
        "",
        *_table(
            ("Metric", "Value", "95 % interval"),
            [(METRIC_NAMES.get(name, name), *_estimate(metric)) for name, metric in card["metrics"].items()],
        ),
        "",
        *_confusion(evaluation["confusion"]),
        *_sources("By source (test rows)", evaluation["by_source"]),
        *_sources("Sources left out of training", evaluation["left_out_of_training"]),
        *_sources("Sources never trained on", evaluation["never_trained_on"]),
        *_bullets(evaluation["notes"]),
        "",
        "## Reliability",
        "",
        *_table(
            ("Probability", "Rows", "Mean probability", "Observed rate"),
            [
                (
                    f"{b['low']:.2f} to {b['high']:.2f}",
                    b["rows"],
                    _number(b["mean_probability"]),
                    _number(b["observed_rate"]),
                )
                for b in evaluation["reliability"]
            ],
        ),
        "",
        "## Data",
        "",
        f"Source: **{_text(info['source'])}**. {info['samples']} rows: {info['train_samples']} training, "
        f"{info['val_samples']} validation, {info['test_samples']} test. "
        f"{info['duplicates_removed']} duplicates removed, {info['rows_with_conflicting_labels']} rows had conflicting "
        "labels.",
        "",
        *_table(
            ("Collection", "Rows", "Positives"),
            [(_text(name), numbers["rows"], numbers["positives"]) for name, numbers in info["sources"].items()],
        ),
        "",
        *_bullets([f"Licence of {name}: {licence}" for name, licence in info["licences"].items()]),
        *_bullets([f"Skipped {row['dataset']}: {row['reason']}" for row in info["skipped"]]),
        "",
        f"Inputs: {', '.join(_code(name) for name in info['features'])}.",
        "",
        "## Governance",
        "",
        f"Every row and every test prediction was screened: {governance['data_violations']} findings in the data, "
        f"{governance['rows_masked']} rows masked, {governance['rows_quarantined']} rows kept out, "
        f"{governance['prediction_violations']} findings beside test predictions.",
        "",
        *_table(
            ("Kind", "Findings"),
            [(_text(kind), count) for kind, count in governance["data_violations_by_kind"].items()],
        ),
        "",
        "## Use",
        "",
        card["intended_use"],
        "",
        "Limits:",
        "",
        *(f"- {limit}" for limit in card["limits"]),
        "",
        "## Evidence",
        "",
        *_table(("What", "Digest"), [(_text(name), _code(digest)) for name, digest in card["digests"].items()]),
        "",
        f"Audit root `{card['audit_merkle_root']}` over the first {card['audit']['size']} events of run "
        f"`{card['audit']['run_id']}`; `nethical audit verify` recomputes it.",
        "",
    ]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return []
    return [
        f"| {' | '.join(header)} |",
        f"| {' | '.join('---' for _ in header)} |",
        *(f"| {' | '.join(str(value) for value in row)} |" for row in rows),
    ]


def _text(value: str) -> str:
    """``value`` on one line, without effect on the layout: names and reasons may come from a downloaded file."""
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", " ".join(value.split()))


def _code(value: str) -> str:
    return _text(value) if "`" in value or "|" in value else f"`{' '.join(value.split())}`"


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {_text(sentence)}" for sentence in sentences]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _estimate(metric: Mapping[str, Any]) -> tuple[str, str]:
    if metric["value"] is None:
        return "undefined", _text(str(metric["reason"]))
    interval = "-" if metric["low"] is None else f"{metric['low']:.4f} to {metric['high']:.4f}"
    return f"{metric['value']:.4f}", interval


def _confusion(matrix: Mapping[str, int] | None) -> list[str]:
    if matrix is None:
        return []
    return [
        *_table(
            ("", "Called positive", "Called negative"),
            [
                ("Positive", matrix["true_positives"], matrix["false_negatives"]),
                ("Negative", matrix["false_positives"], matrix["true_negatives"]),
            ],
        ),
        "",
    ]


def _sources(title: str, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            _text(source["source"]),
            source["rows"],
            *(_number(source["metrics"][name]["value"]) for name in ("accuracy", "f1", "roc_auc", "ece")),
        )
        for source in sources
    ]
    if not rows:
        return []
    return [f"### {title}", "", *_table(("Source", "Rows", "Accuracy", "F1", "ROC AUC", "ECE"), rows), ""]
